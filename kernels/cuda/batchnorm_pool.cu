// Batch norm, ReLU and max pooling in one pass, and its gradient. Rows are positions of all images, those of y forward
// and those of x backward, and there are fewer than 2^31. Legend: kernels/ops/norm.h.
#include "kernels/cuda/batchnorm.cuh"
//
#include "kernels/cuda/run.h"

namespace ddp::cuda {
namespace {

constexpr int kSize = int(kPoolSize), kStride = int(kPoolStride), kPadding = int(kPoolPadding);

// W bytes at once.
template <int W>
struct alignas(W) Bytes {
  unsigned word[W / 4];
  __device__ __forceinline__ int operator[](int j) const { return int(word[j / 4] >> 8 * (j % 4) & 0xff); }
  __device__ __forceinline__ void put(int j, int byte) { word[j / 4] |= unsigned(byte) << 8 * (j % 4); }
};
template <>
struct Bytes<1> {
  uint8_t byte;
  __device__ __forceinline__ int operator[](int) const { return byte; }
  __device__ __forceinline__ void put(int, int value) { byte = uint8_t(value); }
};

struct Position {
  int image, row, column;
};
__device__ __forceinline__ Position position_of(int64_t index, int rows, int columns) {
  const unsigned row = unsigned(index) / unsigned(columns), image = row / unsigned(rows);
  return {int(image), int(row - image * unsigned(rows)), int(unsigned(index) - row * unsigned(columns))};
}

template <class S>
struct Pool {
  S* y;
  uint8_t* index;  // nullptr: none
  const S* x;
  Affine<S> affine;
  int height, width, rows, columns;  // of x, of y
  Sheets sheets;                     // of y
};

template <int W, class S>
__global__ void __launch_bounds__(kSheetThreads) pool(Pool<S> a) {
  const int64_t column = column_of_thread<W>(), c = a.sheets.c;
  if (column >= c) return;
  const Columns<W> columns(a.affine, column);
  for_rows(a.sheets, [&](int64_t position) {
    const auto [image, p, q] = position_of(position, a.rows, a.columns);
    // The window's position (0, 0), within x or not, and those within.
    const int top = p * kStride - kPadding, left = q * kStride - kPadding;
    const int r_begin = max(0, -top), r_end = min(kSize, a.height - top);
    const int s_begin = max(0, -left), s_end = min(kSize, a.width - left);
    const int first = kSize * r_begin + s_begin;
    Pack<W> best;
    int where[W];
#pragma unroll
    for (int j = 0; j < W; ++j) best.x[j] = -INFINITY, where[j] = first;
    for (int r = r_begin; r < r_end; ++r)
      for (int s = s_begin; s < s_end; ++s) {
        const int64_t at = (int64_t(image) * a.height + top + r) * a.width + left + s;
        const Pack<W> x = load<W>(a.x + at * c + column);
#pragma unroll
        for (int j = 0; j < W; ++j) {
          const float v = columns(j, x.x[j]);
          if (v <= best.x[j] || isnan(best.x[j])) continue;  // NaN is larger than any number, and stays
          best.x[j] = v, where[j] = kSize * r + s;
        }
      }
    Bytes<W> index = {};
#pragma unroll
    for (int j = 0; j < W; ++j) {
      index.put(j, best.x[j] <= 0.0f ? first : where[j]);  // behind the ReLU all are 0: the first
      best.x[j] = relu(best.x[j]);
    }
    store<W>(a.y + position * c + column, best);
    if (a.index == nullptr) return;
    auto& to = *reinterpret_cast<Bytes<W>*>(a.index + position * c + column);
    to = index;
  });
}

// Of a position of x before pooling: dy of the windows that it is the largest of, at most four.
template <class S>
struct PooledGradient {
  static constexpr bool kMaskedByX = true;
  const S* dy;
  const uint8_t* index;
  int height, width, rows, columns;  // of x, of dy
  int64_t c;

  template <int W>
  __device__ __forceinline__ Pack<W> load(int64_t position, int64_t column) const {
    Position at = position_of(position, height, width);
    at.row += kPadding, at.column += kPadding;
    Pack<W> d = {};
    // Window p covers kSize positions from p kStride on.
    for (int p = (at.row - kSize + kStride) / kStride; p <= min(at.row / kStride, rows - 1); ++p)
      for (int q = (at.column - kSize + kStride) / kStride; q <= min(at.column / kStride, columns - 1); ++q) {
        const int64_t from = ((int64_t(at.image) * rows + p) * columns + q) * c + column;
        const int tap = kSize * (at.row - p * kStride) + at.column - q * kStride;
        const auto& bytes = *reinterpret_cast<const Bytes<W>*>(index + from);
        const Bytes<W> largest = bytes;
        const Pack<W> more = cuda::load<W>(dy + from);
#pragma unroll
        for (int j = 0; j < W; ++j)
          if (largest[j] == tap) d.x[j] += more.x[j];
      }
    return d;
  }
};

template <class S>
void run_pool(Stream& stream, const BatchNormPool& a) {
  const int64_t c = a.x.dim(3);
  const Pool<S> f = {.y = a.y.as<S>(),
                     .index = a.index ? a.index.as<uint8_t>() : nullptr,
                     .x = a.x.as<S>(),
                     .affine = Affine<S>(a.affine),
                     .height = int(a.x.dim(1)),
                     .width = int(a.x.dim(2)),
                     .rows = int(a.y.dim(1)),
                     .columns = int(a.y.dim(2)),
                     .sheets = sheets(a.y.numel() / c, c)};
  DDP_CHECK(a.x.numel() / c < INT32_MAX, "batchnorm_pool: {} positions", a.x.numel() / c);
  with_width<S>(c, {f.y, f.index, f.x, f.affine.mean, f.affine.spread, f.affine.w, f.affine.b},
                [&](auto w) { launch(stream, sheet_launch<w>("batchnorm_pool", f.sheets), pool<w, S>, f); });
}

template <class S>
void run_pool_backward(Stream& stream, const BatchNormPoolBackward& a) {
  const PooledGradient<S> source{.dy = a.dy.as<S>(),
                                 .index = a.index.as<uint8_t>(),
                                 .height = int(a.x.dim(1)),
                                 .width = int(a.x.dim(2)),
                                 .rows = int(a.dy.dim(1)),
                                 .columns = int(a.dy.dim(2)),
                                 .c = a.x.dim(3)};
  DDP_CHECK(a.x.numel() / source.c < INT32_MAX, "batchnorm_pool_backward: {} positions", a.x.numel() / source.c);
  run_gradient<S>(stream, a, source, source.index);
}

}  // namespace

template <>
void run(Stream& stream, const BatchNormPool& a) {
  with_storage(a.x.dtype, [&](auto s) { run_pool<decltype(s)>(stream, a); });
}

template <>
void run(Stream& stream, const BatchNormPoolBackward& a) {
  with_storage(a.x.dtype, [&](auto s) { run_pool_backward<decltype(s)>(stream, a); });
}

}  // namespace ddp::cuda
