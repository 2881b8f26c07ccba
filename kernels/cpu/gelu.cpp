// GELU, tanh form: y = x / 2 (1 + tanh(u)) with u = sqrt(2 / pi) (x + 0.044715 x^3). As 1 + tanh(u) = 2 sigmoid(2 u), y
// = x s with s = sigmoid(2 u): one exp, one division, and no cancellation for negative x.
#include <algorithm>

#include "kernels/cpu/run.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/storage.h"
#include "kernels/cpu/vec.h"
#include "kernels/ops/elementwise.h"
#include "runtime/device/cpu_device.h"

namespace ddp::cpu {
namespace {

constexpr int64_t kBlock = 16384;  // elements
constexpr float kTwoSqrt2OverPi = 1.5957691216057308f, kCubic = 0.044715f;

DDP_INLINE v16 sigmoid_2u(v16 x) {
  return 1.0f / (1.0f + expv(x * (-kTwoSqrt2OverPi - (kTwoSqrt2OverPi * kCubic) * (x * x))));
}

template <class S>
void run(ThreadPool& pool, const GeluForward& a) {
  const S* x = a.x.as<S>();
  S* y = a.y.as<S>();
  const int64_t n = a.x.numel();
  pool.parallel_for(ceil_div(n, kBlock), [=](int64_t block) {
    const int64_t end = std::min(n, (block + 1) * kBlock);
    for (int64_t i = block * kBlock; i < end; i += kVecWidth) {
      const v16 xi = load(x + i, end - i);
      store(y + i, xi * sigmoid_2u(xi), end - i);
    }
  });
}

template <class S>
void run(ThreadPool& pool, const GeluBackward& a) {
  const S *x = a.x.as<S>(), *dy = a.dy.as<S>();
  S* dx = a.dx.as<S>();
  const int64_t n = a.x.numel();
  pool.parallel_for(ceil_div(n, kBlock), [=](int64_t block) {
    const int64_t end = std::min(n, (block + 1) * kBlock);
    for (int64_t i = block * kBlock; i < end; i += kVecWidth) {
      v16 xi = load(x + i, end - i);
      // From |x| = 20 on s is 0 or 1 exactly; there the cubic must not become infinity times zero.
      xi = xi > 20.0f ? splat(20.0f) : xi;
      xi = xi < -20.0f ? splat(-20.0f) : xi;
      const v16 s = sigmoid_2u(xi);
      const v16 du = kTwoSqrt2OverPi + (3.0f * kTwoSqrt2OverPi * kCubic) * (xi * xi);  // d(2u)/dx
      store(dx + i, load(dy + i, end - i) * (s + xi * s * (1.0f - s) * du), end - i);
    }
  });
}

}  // namespace

template <>
void run(Stream& stream, const GeluForward& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { with_storage(a.x.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

template <>
void run(Stream& stream, const GeluBackward& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { with_storage(a.x.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

}  // namespace ddp::cpu
