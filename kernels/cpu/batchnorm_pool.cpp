// Batch norm, ReLU and max pooling in one pass, and its gradient. Legend: kernels/ops/norm.h.
#include "kernels/cpu/batchnorm.h"

#include <limits>

#include "kernels/cpu/run.h"
#include "runtime/device/cpu_device.h"

namespace ddp::cpu {
namespace {

// So each position lies in one or two windows of either direction.
static_assert(kPoolStride <= kPoolSize && kPoolSize <= 2 * kPoolStride);

// Positions of a window from p's on, along `length`: those within are [first, end).
struct Taps {
  int64_t first = 0, end = kPoolSize;
  bool whole() const { return first == 0 && end == kPoolSize; }
};
Taps taps_within(int64_t p, int64_t length) {
  const int64_t begin = p * kPoolStride - kPoolPadding;
  return {std::max<int64_t>(0, -begin), std::min(kPoolSize, length - begin)};
}

struct Largest {
  v16 value;   // before the ReLU; NaN is larger than any number
  v16i where;  // kPoolSize r + s, the first of equal ones
};

// Of the positions of a window that are within; at(r, s) is the value at one.
template <class F>
DDP_INLINE Largest largest(Taps down, Taps across, F at) {
  Largest best = {splat(-std::numeric_limits<float>::infinity()),
                  int32_t(kPoolSize * down.first + across.first) - v16i{}};
#pragma GCC unroll 3
  for (int64_t r = down.first; r < down.end; ++r)
#pragma GCC unroll 3
    for (int64_t s = across.first; s < across.end; ++s) {
      const v16 v = at(r, s);
      const v16i is_larger = ~(v <= best.value) & (best.value == best.value);
      best.value = is_larger ? v : best.value;
      best.where = is_larger ? int32_t(kPoolSize * r + s) - v16i{} : best.where;
    }
  return best;
}

template <class S>
void run(ThreadPool& pool, const BatchNormPool& a) {
  const int64_t height = a.x.dim(1), width = a.x.dim(2), c = a.x.dim(3), rows = a.y.dim(1), columns = a.y.dim(2);
  const S* x = a.x.as<S>();
  S* y = a.y.as<S>();
  uint8_t* index = a.index ? a.index.as<uint8_t>() : nullptr;
  const int64_t strips = ceil_div(c, kColumns);
  pool.parallel_for(a.y.dim(0) * rows * strips, [=, &a](int64_t task) {
    const int64_t begin = task % strips * kColumns, strip = std::min(kColumns, c - begin), row = task / strips,
                  p = row % rows;
    const Affine<S> affine(a.affine, begin, strip);
    const Taps down = taps_within(p, height);
    for (int64_t q = 0; q < columns; ++q) {
      const Taps across = taps_within(q, width);
      const v16i first = int32_t(kPoolSize * down.first + across.first) - v16i{};
      // Of the window's position (0, 0), within x or not.
      const int64_t corner =
          (row / rows * height + p * kPoolStride - kPoolPadding) * width + q * kPoolStride - kPoolPadding;
      for_columns(begin, strip, [&](int64_t i, int64_t column, int64_t rest) {
        const auto value = [&](int64_t r, int64_t s) {
          return affine(i, load(x + (corner + r * width + s) * c + column, rest));
        };
        const bool whole = down.whole() && across.whole();  // most are, and the compiler unrolls those
        const Largest best = whole ? largest({}, {}, value) : largest(down, across, value);
        const int64_t at = (row * columns + q) * c + column;
        store(y + at, relu(best.value), rest);
        // Behind the ReLU all may be 0: the first.
        if (index != nullptr) store_bytes(index + at, best.value <= 0.0f ? first : best.where, rest);
      });
    }
  });
}

// Of a position of x before pooling: dy of the up to four windows that it is the largest of.
template <class S>
struct PooledGradient {
  static constexpr bool kMaskedByX = true;
  const S* dy;
  const uint8_t* index;
  int64_t height, width, rows, columns, c;

  struct Windows {
    const S* dy;
    const uint8_t* index;
    int64_t count, at[4];  // count: 1, 2 or 4; at: of the window's first channel
    int32_t tap[4];        // that the position is of it

    DDP_INLINE v16 operator()(int64_t column, int64_t rest) const {
      const auto of_window = [&](int i) {
        const v16i is_largest = load_bytes(index + at[i] + column, rest) == tap[i];
        return is_largest ? load(dy + at[i] + column, rest) : v16{};
      };
      v16 d = of_window(0);
      if (count > 1) d += of_window(1);
      if (count > 2) d += of_window(2), d += of_window(3);
      return d;
    }
  };

  Windows row(int64_t row) const {
    const int64_t h = row / width % height + kPoolPadding, w = row % width + kPoolPadding, n = row / (width * height);
    Windows out{dy, index, 0, {}, {}};
    // Window p covers kPoolSize positions from p kPoolStride on.
    const auto first = [](int64_t at) { return (at - kPoolSize + kPoolStride) / kPoolStride; };
    for (int64_t p = first(h); p <= std::min(h / kPoolStride, rows - 1); ++p)
      for (int64_t q = first(w); q <= std::min(w / kPoolStride, columns - 1); ++q) {
        out.at[out.count] = ((n * rows + p) * columns + q) * c;
        out.tap[out.count++] = int32_t(kPoolSize * (h - p * kPoolStride) + w - q * kPoolStride);
      }
    return out;
  }
};

}  // namespace

template <>
void run(Stream& stream, const BatchNormPool& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { with_storage(a.x.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

template <>
void run(Stream& stream, const BatchNormPoolBackward& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) {
    with_storage(a.x.dtype, [&](auto s) {
      using S = decltype(s);
      const PooledGradient<S> source{.dy = a.dy.as<S>(),
                                     .index = a.index.as<uint8_t>(),
                                     .height = a.x.dim(1),
                                     .width = a.x.dim(2),
                                     .rows = a.dy.dim(1),
                                     .columns = a.dy.dim(2),
                                     .c = a.x.dim(3)};
      with_grad<S>(a.dw.dtype, [&](auto g) { run_gradient<S, decltype(g)>(pool, a, source); });
    });
  });
}

}  // namespace ddp::cpu
