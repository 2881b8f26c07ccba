#include "runtime/data/images/memory_images.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/hash.h"

namespace ddp {
namespace {

// What `crop` shows of a picture, which is not copied.
Pixels part(const Pixels& picture, const Rectangle& crop) {
  return {.pixels = picture.pixels + crop.top * picture.stride + crop.left * picture.channels,
          .width = crop.width,
          .height = crop.height,
          .channels = picture.channels,
          .stride = picture.stride};
}

// As many pixels as the target has.
void copy(const Pixels& from, bool flip, const PixelTarget& to) {
  const int64_t c = from.channels, row_bytes = from.width * c;
  for (int64_t row = 0; row < from.height; ++row) {
    const uint8_t* in = from.pixels + row * from.stride;
    uint8_t* out = to.pixels + row * row_bytes;
    if (!flip)
      std::memcpy(out, in, size_t(row_bytes));
    else
      for (int64_t column = 0; column < from.width; ++column)
        std::memcpy(out + row_bytes - (column + 1) * c, in + column * c, size_t(c));
  }
}

}  // namespace

MemoryImages::MemoryImages(ImageSet images, const SourceRequest& request)
    : DataSource(request.split, request.seed), images_(std::move(images)), views_(request) {
  const int64_t channels = request.batch.find("image")->shape[3];
  if (channels != images_.channels)
    throw Error(ExitCode::config,
                fmt::format("{}: pictures have {} channel{} and model.channels is {}", request.path().string(),
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
  const Pixels crop = part(picture, view.crop);
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
