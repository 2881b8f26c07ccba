#include "runtime/data/images/png.h"

#include <png.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>

#include "runtime/data/images/decoder.h"

namespace ddp {
namespace {

constexpr int64_t kMostBitsPerByte = 1032 * 8;  // deflate makes at most 1,032 bytes of one

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  auto& failure = *static_cast<DecoderFailure*>(png_get_error_ptr(png));
  std::snprintf(failure.message, sizeof failure.message, "%s", message);
  std::longjmp(failure.jump, 1);
}

void on_warning(png_structp, png_const_charp) {}  // of chunks that hold no pixels

class PngReader {
 public:
  explicit PngReader(std::span<const std::byte> file) : PngReader() {
    rest_ = file;
    png_set_read_fn(png_, this, read);
    guarded([&] { png_read_info(png_, info_); });
    check_size(size(), file, kMostBitsPerByte / (png_get_channels(png_, info_) * png_get_bit_depth(png_, info_)));
  }
  PngReader(PngReader&&) = delete;
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }

  PictureSize size() const { return {png_get_image_width(png_, info_), png_get_image_height(png_, info_)}; }
  Pixels decode(const Rectangle& crop, const PixelTarget& to, PictureScratch& scratch);

 private:
  PngReader() {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, &failure_, on_error, on_warning);
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw std::bad_alloc();
    }
    // Texts, profiles and palettes' names hold no pixels and may inflate to gigabytes: they are not read.
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  }
  template <class Call>
  void guarded(const Call& call) {
    ddp::guarded(failure_, "PNG", call);
  }
  static void read(png_structp png, png_bytep out, size_t n) {
    auto& rest = static_cast<PngReader*>(png_get_io_ptr(png))->rest_;
    if (rest.size() < n) png_error(png, "the file ends early");
    std::memcpy(out, rest.data(), n);
    rest = rest.subspan(n);
  }

  DecoderFailure failure_;
  std::span<const std::byte> rest_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

Pixels PngReader::decode(const Rectangle& crop, const PixelTarget& to, PictureScratch& scratch) {
  check_within(crop, size());
  const int64_t height = size().height;
  int passes = 1;
  guarded([&] {
    png_set_expand(png_);
    png_set_strip_16(png_);
    png_set_strip_alpha(png_);
    if (to.channels == 3) png_set_gray_to_rgb(png_);
    passes = png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
  });
  // A row at a time, or all rows, which the passes of an interlaced file fill.
  const int64_t channels = png_get_channels(png_, info_), row_bytes = int64_t(png_get_rowbytes(png_, info_));
  uint8_t* const rows = room(scratch.row, row_bytes * (passes == 1 ? 1 : height));
  const int64_t stride = crop.width * to.channels, bottom = crop.top + crop.height;
  uint8_t* const pixels = room(scratch.pixels, stride * crop.height);
  const auto keep = [&](const uint8_t* row, int64_t y) {
    if (y < crop.top || y >= bottom) return;
    const uint8_t* const from = row + crop.left * channels;
    uint8_t* const out = pixels + (y - crop.top) * stride;
    if (channels == to.channels)
      std::copy_n(from, stride, out);
    else
      for (int64_t x = 0; x < crop.width; ++x) out[x] = luma(from + x * 3);
  };
  guarded([&] {
    for (int pass = 1; pass <= passes; ++pass)
      for (int64_t y = 0; y < (passes == 1 ? bottom : height); ++y) {
        uint8_t* const row = rows + (passes == 1 ? 0 : y * row_bytes);
        png_read_row(png_, row, nullptr);
        if (pass == passes) keep(row, y);
      }
    if (passes > 1 || bottom == height) png_read_end(png_, nullptr);  // an end must be there
  });
  return {pixels, crop.width, crop.height, to.channels};
}

}  // namespace

bool is_png(std::span<const std::byte> file) {
  return file.size() >= 8 && png_sig_cmp(reinterpret_cast<png_const_bytep>(file.data()), 0, 8) == 0;
}

PictureSize png_size(std::span<const std::byte> file) { return PngReader(file).size(); }

Pixels decode_png(std::span<const std::byte> file, const Rectangle& crop, const PixelTarget& to,
                  PictureScratch& scratch) {
  return PngReader(file).decode(crop, to, scratch);
}

}  // namespace ddp
