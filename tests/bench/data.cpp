// Samples a second and core of pictures for training, against libjpeg-turbo's rate of decoding whole pictures in the
// same run: what data.augment resized_crop draws (runtime/data/images/view.h), as 224 x 224. Interleaved rounds on one
// core, medians. Usage: bench_data [--rounds N] [JPEG...]; without a JPEG, four synthetic ones of 640 x 427.
#include <fmt/core.h>
#include <stdio.h>  // jpeglib.h needs FILE

#include <jpeglib.h>
#include <time.h>

#include <algorithm>
#include <string>
#include <vector>

#include "runtime/base/fs.h"
#include "runtime/base/number.h"
#include "runtime/data/images/jpeg.h"
#include "runtime/data/images/view.h"
#include "tests/data/picture_files.h"
#include "tests/data/pictures.h"

namespace ddp {
namespace {

using test::FileBytes;

constexpr int64_t kSide = 224;
constexpr int kCropsARound = 40;

// Of this thread: other guests of the machine take time from all that is compared alike, but not evenly.
double cpu_seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

// The yardstick: every row, by the plain calls of the library.
void decode_whole(const FileBytes& file, std::vector<uint8_t>& pixels) {
  jpeg_decompress_struct jpeg;
  jpeg_error_mgr errors;
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_decompress(&jpeg);
  jpeg_mem_src(&jpeg, reinterpret_cast<const unsigned char*>(file.data()), file.size());
  jpeg_read_header(&jpeg, TRUE);
  jpeg.out_color_space = JCS_RGB;
  jpeg_start_decompress(&jpeg);
  const size_t stride = size_t(jpeg.output_width) * 3;
  pixels.resize(stride * jpeg.output_height);
  while (jpeg.output_scanline < jpeg.output_height) {
    JSAMPROW row = pixels.data() + stride * jpeg.output_scanline;
    jpeg_read_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_decompress(&jpeg);
  jpeg_destroy_decompress(&jpeg);
}

class Bench {
 public:
  explicit Bench(std::vector<FileBytes> files) : files_(std::move(files)) {}

  // Seconds a picture.
  double whole() {
    return a_picture([&](const FileBytes& file, const Draw&) { decode_whole(file, scratch_.pixels); });
  }
  double sample() {
    return a_picture([&](const FileBytes& file, const Draw& draw) {
      const View view = views_.view(picture_size(file), {}, draw);
      decode_crop(file, view.crop, view.flip, target_, scratch_);
    });
  }
  double decoded() {
    return a_picture([&](const FileBytes& file, const Draw& draw) {
      decode_jpeg(file, views_.view(picture_size(file), {}, draw).crop, target_, scratch_);
    });
  }

 private:
  template <class Work>
  double a_picture(const Work& work) {
    const uint64_t epoch = round_++ / 3;  // the same crops for all that is measured in a round
    const double begin = cpu_seconds();
    for (int i = 0; i < kCropsARound; ++i) work(files_[size_t(i) % files_.size()], Draw{epoch, i});
    return (cpu_seconds() - begin) / kCropsARound;
  }

  std::vector<FileBytes> files_;
  BatchLayout layout_ = test::image_layout(1, kSide, 3, 1000);
  Views views_{{.batch = layout_, .augment = Augment::resized_crop}};
  std::vector<uint8_t> pixels_ = std::vector<uint8_t>(kSide * kSide * 3);
  PixelTarget target_{pixels_.data(), kSide, kSide, 3};
  PictureScratch scratch_;
  uint64_t round_ = 0;
};

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + std::ptrdiff_t(values.size() / 2), values.end());
  return values[values.size() / 2];
}

int run(std::vector<std::string> arguments) {
  int rounds = 25;
  if (arguments.size() >= 2 && arguments[0] == "--rounds") {
    rounds = std::max(1, parse_number<int>(arguments[1]).value_or(rounds));
    arguments.erase(arguments.begin(), arguments.begin() + 2);
  }
  std::vector<FileBytes> files;
  for (const std::string& path : arguments) {
    const std::string text = read_text(path);
    const auto bytes = std::as_bytes(std::span(text));
    files.emplace_back(bytes.begin(), bytes.end());
  }
  for (unsigned seed = 1; arguments.empty() && seed <= 4; ++seed)
    files.push_back(test::write_jpeg(test::natural_picture(640, 427, 3, seed), {.quality = 95}));
  for (const FileBytes& file : files) {
    const PictureSize size = picture_size(file);
    fmt::print("{} x {}, {:.2f} bits a pixel\n", size.width, size.height,
               8.0 * double(file.size()) / double(size.width * size.height));
  }

  Bench bench(std::move(files));
  std::vector<double> whole, decoded, sample, ratio;
  for (int i = 0; i < rounds; ++i) {
    whole.push_back(bench.whole());
    decoded.push_back(bench.decoded());
    sample.push_back(bench.sample());
    ratio.push_back(whole.back() / sample.back());
  }
  const auto report = [](const char* what, double seconds) {
    fmt::print("{:<40}{:>8.3f} ms {:>8.0f} images/s a core\n", what, 1e3 * seconds, 1 / seconds);
  };
  report("libjpeg-turbo, whole picture", median(whole));
  report("crop decoded", median(decoded));
  report(fmt::format("crop decoded, resized to {}, mirrored", kSide).c_str(), median(sample));
  fmt::print("ratio {:.2f} (goal 1.00); 3,000 images/s want {:.1f} cores\n", median(ratio), 3000 * median(sample));
  return 0;
}

}  // namespace
}  // namespace ddp

int main(int argc, char** argv) { return ddp::run({argv + 1, argv + argc}); }
