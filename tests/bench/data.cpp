// Samples a second and core of pictures for training, against libjpeg-turbo's rate of decoding whole pictures in the
// same run: random resized crops (8 to 100% of the area, ratio 3/4 to 4/3, as torchvision) to 224 x 224, half of them
// mirrored. Interleaved rounds on one core, medians. Usage: bench_data [--rounds N] [JPEG...]; without a JPEG, four
// synthetic ones of 640 x 427.
#include <fmt/core.h>
#include <stdio.h>  // jpeglib.h needs FILE

#include <jpeglib.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "runtime/base/fs.h"
#include "runtime/base/number.h"
#include "runtime/data/images/jpeg.h"
#include "tests/data/picture_files.h"

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

// As data.augment resized_crop draws them (runtime/data/images/view.cpp), where one of ten tries fits.
Rectangle random_crop(PictureSize size, std::mt19937& random) {
  const auto uniform = [&](double low, double high) { return low + (high - low) * double(random()) * 0x1p-32; };
  for (int i = 0; i < 10; ++i) {
    const double area = double(size.width * size.height) * uniform(0.08, 1.0);
    const double ratio = std::exp(uniform(std::log(3.0 / 4), std::log(4.0 / 3)));
    const int64_t width = std::lround(std::sqrt(area * ratio)), height = std::lround(std::sqrt(area / ratio));
    if (width > size.width || height > size.height) continue;
    return {int64_t(uniform(0, double(size.width - width + 1))), int64_t(uniform(0, double(size.height - height + 1))),
            width, height};
  }
  return {0, 0, size.width, size.height};
}

class Bench {
 public:
  explicit Bench(std::vector<FileBytes> files) : files_(std::move(files)) {}

  // Seconds a picture.
  double whole() {
    return a_picture([&](const FileBytes& file, std::mt19937&) { decode_whole(file, scratch_.pixels); });
  }
  double sample() {
    return a_picture([&](const FileBytes& file, std::mt19937& random) {
      const Rectangle crop = random_crop(picture_size(file), random);
      decode_crop(file, crop, random() % 2 == 0, target_, scratch_);
    });
  }
  double decoded() {
    return a_picture([&](const FileBytes& file, std::mt19937& random) {
      const Rectangle crop = random_crop(picture_size(file), random);
      random();
      decode_jpeg(file, crop, target_, scratch_);
    });
  }

 private:
  template <class Work>
  double a_picture(const Work& work) {
    std::mt19937 random(round_++ / 3);  // the same crops for all that is measured in a round
    const double begin = cpu_seconds();
    for (int i = 0; i < kCropsARound; ++i) work(files_[size_t(i) % files_.size()], random);
    return (cpu_seconds() - begin) / kCropsARound;
  }

  std::vector<FileBytes> files_;
  std::vector<uint8_t> pixels_ = std::vector<uint8_t>(kSide * kSide * 3);
  PixelTarget target_{pixels_.data(), kSide, kSide, 3};
  PictureScratch scratch_;
  unsigned round_ = 0;
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
