#include "runtime/data/images/view.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/base/philox.h"

namespace ddp {
namespace {

constexpr uint32_t kViewKey = 0x76696577u;  // "view": separates these draws from those of the order, dropout, weights
constexpr uint32_t kMoves = 0, kFirstTry = 1;  // indices of draws
constexpr uint32_t kTries = 10;
constexpr double kMinArea = 0.08, kMaxRatio = 4.0 / 3.0;
constexpr int64_t kShiftPart = 8;  // of a side

double fraction(uint32_t word) { return double(word) * 0x1p-32; }  // [0, 1)
int64_t below(uint32_t word, int64_t n) { return int64_t(uint64_t(word) * uint64_t(n) >> 32); }

Philox4 draw_words(uint64_t seed, const Draw& draw, uint32_t index) {
  return philox(uint32_t(seed), uint32_t(seed >> 32) ^ kViewKey, uint32_t(draw.sample),
                uint32_t(uint64_t(draw.sample) >> 32), uint32_t(draw.epoch), index);
}

Rectangle centred(const PictureSize& picture, int64_t width, int64_t height) {
  return {(picture.width - width) / 2, (picture.height - height) / 2, width, height};
}

Rectangle random_crop(const PictureSize& picture, uint64_t seed, const Draw& draw) {
  const auto w = double(picture.width), h = double(picture.height);
  for (uint32_t i = 0; i < kTries; ++i) {
    const Philox4 r = draw_words(seed, draw, kFirstTry + i);
    const double area = w * h * (kMinArea + (1.0 - kMinArea) * fraction(r.word[0]));
    const double ratio = std::exp((2.0 * fraction(r.word[1]) - 1.0) * std::log(kMaxRatio));
    const int64_t width = std::lround(std::sqrt(area * ratio)), height = std::lround(std::sqrt(area / ratio));
    if (width < 1 || height < 1 || width > picture.width || height > picture.height) continue;
    return {below(r.word[2], picture.width - width + 1), below(r.word[3], picture.height - height + 1), width, height};
  }
  const int64_t width = std::min(picture.width, std::lround(h * kMaxRatio));
  const int64_t height = std::min(picture.height, std::lround(w * kMaxRatio));
  return centred(picture, width, height);
}

}  // namespace

Views::Views(const SourceRequest& request)
    : augment_(request.split == Split::train ? request.augment : Augment::none),
      magnifies_(request.augment == Augment::resized_crop),
      seed_(request.seed) {
  const BatchLayout::Field* image = request.batch.find("image");
  DDP_CHECK(image != nullptr && image->input.dtype == DType::u8 && image->shape.rank == 4,
            "a batch has no (H,W,C) u8 called image");
  DDP_CHECK(augment_ != Augment::automatic, "data.augment is not resolved");
  height_ = image->shape[1], width_ = image->shape[2];
}

View Views::view(const PictureSize& picture, const Rectangle& seen, const Draw& draw) const {
  if (augment_ == Augment::none) return {.crop = seen};
  const Philox4 r = draw_words(seed_, draw, kMoves);
  View view{.crop = seen, .flip = r.word[0] >> 31 != 0};
  if (augment_ == Augment::resized_crop) view.crop = random_crop(picture, seed_, draw);
  if (augment_ == Augment::shift) {
    const int64_t most_down = height_ / kShiftPart, most_right = width_ / kShiftPart;
    view.down = below(r.word[1], 2 * most_down + 1) - most_down;
    view.right = below(r.word[2], 2 * most_right + 1) - most_right;
  }
  return view;
}

Rectangle Views::centre_square(const PictureSize& picture) const {
  int64_t side = std::min(picture.width, picture.height);
  if (magnifies_) side = std::max<int64_t>(1, (side * 7 + 4) / 8);
  return centred(picture, side, side);
}

PixelTarget pixels_of(HostBatch& batch, int64_t i) {
  const TensorView image = batch.view("image");
  return {.pixels = batch.sample<uint8_t>("image", i).data(),
          .width = image.dim(2),
          .height = image.dim(1),
          .channels = image.dim(3)};
}

void shift(const PixelTarget& image, int64_t down, int64_t right) {
  if (down == 0 && right == 0) return;
  const int64_t row_bytes = image.width * image.channels;
  const int64_t moved = std::min(std::abs(right) * image.channels, row_bytes), kept = row_bytes - moved;
  const auto make_row = [&](int64_t to) {
    uint8_t* out = image.pixels + to * row_bytes;
    const int64_t from = to - down;
    if (from < 0 || from >= image.height) {
      std::memset(out, 0, size_t(row_bytes));
      return;
    }
    const uint8_t* row = image.pixels + from * row_bytes;
    std::memmove(right > 0 ? out + moved : out, right > 0 ? row : row + moved, size_t(kept));
    std::memset(right > 0 ? out : out + kept, 0, size_t(moved));
  };
  // In the order in which no row is overwritten before it was read.
  for (int64_t i = 0; i < image.height; ++i) make_row(down > 0 ? image.height - 1 - i : i);
}

}  // namespace ddp
