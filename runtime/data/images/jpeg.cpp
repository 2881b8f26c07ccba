#include "runtime/data/images/jpeg.h"

#include <stdio.h>  // jpeglib.h needs FILE

#include <jerror.h>
#include <jpeglib.h>

#include <algorithm>

#include "runtime/data/images/decoder.h"

namespace ddp {
namespace {

// A block of 64 pixels takes at least a bit, the Huffman code of its mean. Arithmetic coding, which nobody uses, may
// take less for a flat picture, which is then refused.
constexpr int64_t kMostPixelsPerByte = 64 * 8;

[[noreturn]] void on_error(j_common_ptr jpeg) {
  static_assert(sizeof(DecoderFailure::message) >= JMSG_LENGTH_MAX);
  auto& failure = *static_cast<DecoderFailure*>(jpeg->client_data);
  jpeg->err->format_message(jpeg, failure.message);
  std::longjmp(failure.jump, 1);
}

// libjpeg calls it a warning when it goes on with made-up pixels. True warnings are these: junk before a marker, of
// which sets of photographs are full, and odd versions.
void on_message(j_common_ptr jpeg, int level) {
  const int code = jpeg->err->msg_code;
  if (level < 0 && code != JWRN_EXTRANEOUS_DATA && code != JWRN_JFIF_MAJOR && code != JWRN_ADOBE_XFORM) on_error(jpeg);
}

class JpegReader {
 public:
  explicit JpegReader(std::span<const std::byte> file) : JpegReader() {
    guarded([&] {
      jpeg_mem_src(&jpeg_, reinterpret_cast<const unsigned char*>(file.data()), file.size());
      jpeg_read_header(&jpeg_, TRUE);
    });
    check_size(size(), file, kMostPixelsPerByte);
  }
  JpegReader(JpegReader&&) = delete;
  ~JpegReader() { jpeg_destroy_decompress(&jpeg_); }

  PictureSize size() const { return {jpeg_.image_width, jpeg_.image_height}; }
  Pixels decode(const Rectangle& crop, const PixelTarget& to, PictureScratch& scratch);

 private:
  JpegReader() {
    jpeg_.err = jpeg_std_error(&errors_);
    errors_.error_exit = on_error;
    errors_.emit_message = on_message;
    jpeg_.client_data = &failure_;
    guarded([&] { jpeg_create_decompress(&jpeg_); });
  }
  template <class Call>
  void guarded(const Call& call) {
    ddp::guarded(failure_, "JPEG", call);
  }
  void read_row(const PixelTarget& to, uint8_t* out, uint8_t* cmyk);

  DecoderFailure failure_;
  jpeg_error_mgr errors_;
  jpeg_decompress_struct jpeg_;
};

Pixels JpegReader::decode(const Rectangle& crop, const PixelTarget& to, PictureScratch& scratch) {
  check_within(crop, size());
  int64_t reduction = 4;  // 1/2 and 1/4 alone: the other scales have no SIMD
  while (reduction > 1 && (crop.width < reduction * to.width || crop.height < reduction * to.height)) reduction /= 2;
  const bool cmyk = jpeg_.jpeg_color_space == JCS_CMYK || jpeg_.jpeg_color_space == JCS_YCCK;
  jpeg_.scale_num = 1;
  jpeg_.scale_denom = unsigned(reduction);
  jpeg_.out_color_space = cmyk ? JCS_CMYK : to.channels == 3 ? JCS_RGB : JCS_GRAYSCALE;

  const int64_t left = crop.left / reduction, top = crop.top / reduction;
  const int64_t right = (crop.left + crop.width - 1) / reduction + 1;
  const int64_t bottom = (crop.top + crop.height - 1) / reduction + 1;
  JDIMENSION begin = JDIMENSION(std::max(int64_t{0}, left - 1)), width = 0;
  guarded([&] {
    jpeg_start_decompress(&jpeg_);
    // A pixel more on both sides, so that chroma is interpolated over the crop's edges as it is within.
    width = std::min(JDIMENSION(right + 1), jpeg_.output_width) - begin;
    jpeg_crop_scanline(&jpeg_, &begin, &width);  // from a block's edge
    if (top > 0) jpeg_skip_scanlines(&jpeg_, JDIMENSION(top));
  });
  const int64_t stride = int64_t(width) * to.channels;
  uint8_t* const pixels = room(scratch.pixels, stride * (bottom - top));
  uint8_t* const row = cmyk ? room(scratch.row, int64_t(width) * 4) : nullptr;
  guarded([&] {
    for (int64_t y = 0; y < bottom - top; ++y) read_row(to, pixels + y * stride, row);
    if (jpeg_.output_scanline == jpeg_.output_height) jpeg_finish_decompress(&jpeg_);  // an end must be there
  });
  return {.pixels = pixels + (left - begin) * to.channels,
          .width = crop.width,
          .height = crop.height,
          .channels = to.channels,
          .stride = stride,
          .reduction = reduction,
          .skip_left = crop.left % reduction,
          .skip_top = crop.top % reduction};
}

// `cmyk`: place for a row of it, where the file has no other colours; a product of ink and black, as Pillow rounds it.
void JpegReader::read_row(const PixelTarget& to, uint8_t* out, uint8_t* cmyk) {
  JSAMPROW row = cmyk != nullptr ? cmyk : out;
  jpeg_read_scanlines(&jpeg_, &row, 1);
  if (cmyk == nullptr) return;
  for (JDIMENSION x = 0; x < jpeg_.output_width; ++x, cmyk += 4, out += to.channels) {
    uint8_t rgb[3];
    for (int c = 0; c < 3; ++c) {
      const int ink = (255 - cmyk[c]) * cmyk[3] + 128;
      rgb[c] = uint8_t(cmyk[3] - ((ink >> 8) + ink) / 256);
    }
    if (to.channels == 3)
      std::copy_n(rgb, 3, out);
    else
      *out = luma(rgb);
  }
}

}  // namespace

bool is_jpeg(std::span<const std::byte> file) {
  return file.size() >= 3 && file[0] == std::byte{0xFF} && file[1] == std::byte{0xD8} && file[2] == std::byte{0xFF};
}

PictureSize jpeg_size(std::span<const std::byte> file) { return JpegReader(file).size(); }

Pixels decode_jpeg(std::span<const std::byte> file, const Rectangle& crop, const PixelTarget& to,
                   PictureScratch& scratch) {
  return JpegReader(file).decode(crop, to, scratch);
}

}  // namespace ddp
