#include "runtime/data/images/memory_images.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/hash.h"

namespace ddp {
namespace {

// `crop` of a picture; it lies in `scratch` where it is not all of it.
Pixels cut(const Pixels& picture, const Rectangle& crop, std::vector<std::byte>& scratch) {
  if (crop.width == picture.width && crop.height == picture.height) return picture;
  const int64_t row_bytes = crop.width * picture.channels;
  scratch.resize(size_t(crop.height * row_bytes));
  for (int64_t row = 0; row < crop.height; ++row)
    std::memcpy(scratch.data() + row * row_bytes,
                picture.pixels + ((crop.top + row) * picture.width + crop.left) * picture.channels, size_t(row_bytes));
  return {reinterpret_cast<const uint8_t*>(scratch.data()), crop.width, crop.height, picture.channels};
}

void copy(const Pixels& from, bool flip, const PixelTarget& to) {
  const int64_t n = from.height * from.width, c = from.channels;
  if (!flip) {
    std::memcpy(to.pixels, from.pixels, size_t(n * c));
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    const int64_t column = i % from.width;
    std::memcpy(to.pixels + (i - column + from.width - 1 - column) * c, from.pixels + i * c, size_t(c));
  }
}

}  // namespace

MemoryImages::MemoryImages(ImageSet images, const SourceRequest& request)
    : DataSource(request.split, request.seed), images_(std::move(images)), views_(request) {
  const int64_t channels = request.batch.find("image")->shape[3];
  if (channels != images_.channels)
    throw Error(ExitCode::config,
                fmt::format("{}: pictures have {} channel{} and model.channels is {}", request.path.string(),
                            images_.channels, images_.channels == 1 ? "" : "s", channels),
                fmt::format("set model.channels to {}", images_.channels));
}

std::string MemoryImages::fingerprint() const {
  Xxh3 hash;
  hash.update(std::as_bytes(std::span(images_.labels)));
  hash.update(std::as_bytes(std::span(images_.pixels)));
  return fmt::format("{} pictures of {} x {}, xxh3 {}", num_samples(), images_.width, images_.height,
                     hash_text(hash.digest()));
}

void MemoryImages::fill_sample(HostBatch& batch, int64_t i, const Draw& draw) const {
  thread_local PictureScratch scratch;
  const int64_t bytes = images_.height * images_.width * images_.channels;
  const Pixels picture{images_.pixels.data() + draw.sample * bytes, images_.width, images_.height, images_.channels};
  const PixelTarget to = pixels_of(batch, i);
  const View view = views_.view({picture.width, picture.height}, {0, 0, picture.width, picture.height}, draw);
  const Pixels crop = cut(picture, view.crop, batch.raw);
  if (crop.width == to.width && crop.height == to.height)
    copy(crop, view.flip, to);
  else
    resize(crop, view.flip, to, scratch);
  shift(to, view.down, view.right);
  batch.sample<int32_t>("label", i)[0] = images_.labels[size_t(draw.sample)];
}

void check_labels(std::span<const uint8_t> labels, const SourceRequest& request, const std::filesystem::path& file) {
  const int64_t classes = request.batch.find("label")->input.limit;
  const auto bad = std::ranges::find_if(labels, [classes](uint8_t label) { return int64_t(label) >= classes; });
  if (bad == labels.end()) return;
  throw Error(ExitCode::data,
              fmt::format("{}: sample {} has label {}, not below model.classes {}", file.string(), bad - labels.begin(),
                          *bad, classes),
              "set model.classes to the number of classes, or is this another data set?");
}

}  // namespace ddp
