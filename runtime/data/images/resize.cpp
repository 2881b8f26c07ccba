#include "runtime/data/images/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/base/check.h"

namespace ddp {
namespace {

using f32x4 = float __attribute__((vector_size(16)));
using i32x4 = int32_t __attribute__((vector_size(16)));
constexpr int64_t kLanes = 4;

// Nearer than this to its window's edge a pixel's centre counts as outside: it would weigh next to nothing, and
// rounding must not make a window longer than `taps`.
constexpr double kEdge = 1e-6;

// The windows of Pillow's precompute_coeffs (src/libImaging/Resample.c) over `length` pixels of the picture. Where the
// decoder reduced it, a weight goes to the pixel that its own became part of: this is the same filter, up to what the
// pixels of one square differ by, and it needs no special case at a crop's edge that cuts a square.
void set_windows(int64_t length, int64_t outputs, int64_t reduction, int64_t skip, ResizeWindows& windows) {
  const double scale = double(length) / double(outputs), radius = std::max(scale, 1.0);
  windows.taps = (int64_t(std::ceil(2 * radius)) + reduction - 2) / reduction + 1;
  windows.first.resize(size_t(outputs));
  windows.count.resize(size_t(outputs));
  windows.weights.assign(size_t(outputs * windows.taps), 0.0f);
  for (int64_t i = 0; i < outputs; ++i) {
    const double center = (double(i) + 0.5) * scale;
    const int64_t begin = std::max(int64_t{0}, int64_t(center - radius + 0.5 + kEdge));
    const int64_t end = std::min(length, int64_t(center + radius + 0.5 - kEdge));
    const int64_t first = (begin + skip) / reduction;
    float* const weights = windows.weights.data() + i * windows.taps;
    double sum = 0;
    for (int64_t x = begin; x < end; ++x) {
      const double weight = std::max(0.0, 1.0 - std::abs(double(x) + 0.5 - center) / radius);
      weights[(x + skip) / reduction - first] += float(weight);
      sum += weight;
    }
    windows.first[size_t(i)] = first;
    windows.count[size_t(i)] = (end - 1 + skip) / reduction - first + 1;
    for (int64_t k = 0; k < windows.taps; ++k) weights[k] = float(double(weights[k]) / sum);
  }
}

// line[j] = sum over k of weights[k] x rows[k * stride + j]
void sum_rows(const uint8_t* rows, int64_t stride, const float* weights, int64_t count, int64_t n, float* line) {
  constexpr int64_t kBlock = 16;  // sums that stay in registers
  const auto block = [&](int64_t begin, int64_t size) {
    float sums[kBlock] = {};
    for (int64_t k = 0; k < count; ++k) {
      const uint8_t* const row = rows + k * stride + begin;
      const float weight = weights[k];
      // Without the detour by uint16_t GCC 12 extends signs that are not there.
      for (int64_t j = 0; j < size; ++j) sums[j] += weight * float(int32_t(uint16_t(row[j])));
    }
    std::copy_n(sums, size, line + begin);
  };
  int64_t begin = 0;
  for (; begin + kBlock <= n; begin += kBlock) block(begin, kBlock);
  block(begin, n - begin);
}

// A row of the target. Every window is read to `taps`, with weights of zero at last, since loops of one length cost a
// third less; a vector holds the channels of a pixel and what follows, which is not used.
template <int64_t kChannels>
void sum_columns(const float* line, const ResizeWindows& windows, bool flip, int64_t width, uint8_t* out) {
  for (int64_t i = 0; i < width; ++i) {
    const float* const weights = windows.weights.data() + i * windows.taps;
    const float* const pixels = line + windows.first[size_t(i)] * kChannels;
    f32x4 sums = {};
    for (int64_t k = 0; k < windows.taps; ++k) {
      f32x4 pixel;
      std::memcpy(&pixel, pixels + k * kChannels, sizeof pixel);
      sums += weights[k] * pixel;
    }
    uint8_t* const to = out + (flip ? width - 1 - i : i) * kChannels;
    const auto rounded = __builtin_convertvector(sums + 0.5f, i32x4);
    for (int64_t c = 0; c < kChannels; ++c) to[c] = uint8_t(rounded[c]);
  }
}

}  // namespace

// Rows first, then columns, line by line: what lies between the passes stays in the first cache.
void resize(const Pixels& from, bool flip, const PixelTarget& to, PictureScratch& scratch) {
  DDP_CHECK(from.channels == to.channels && (to.channels == 1 || to.channels == 3), "{} channels to {}", from.channels,
            to.channels);
  DDP_CHECK(from.width > 0 && from.height > 0 && to.width > 0 && to.height > 0, "an empty picture");
  set_windows(from.width, to.width, from.reduction, from.skip_left, scratch.columns);
  set_windows(from.height, to.height, from.reduction, from.skip_top, scratch.rows);
  const int64_t n = (scratch.columns.first.back() + scratch.columns.count.back()) * to.channels;
  scratch.line.resize(size_t(n + scratch.columns.taps * to.channels + kLanes));
  for (int64_t y = 0; y < to.height; ++y) {
    const ResizeWindows& rows = scratch.rows;
    sum_rows(from.pixels + rows.first[size_t(y)] * from.stride, from.stride, rows.weights.data() + y * rows.taps,
             rows.count[size_t(y)], n, scratch.line.data());
    uint8_t* const out = to.pixels + y * to.width * to.channels;
    if (to.channels == 3)
      sum_columns<3>(scratch.line.data(), scratch.columns, flip, to.width, out);
    else
      sum_columns<1>(scratch.line.data(), scratch.columns, flip, to.width, out);
  }
}

}  // namespace ddp
