// ReLU and tanh; both are differentiated from their outputs.
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/run.h"
#include "kernels/cpu/storage.h"
#include "kernels/ops/elementwise.h"
#include "runtime/device/cpu_device.h"

namespace ddp::cpu {
namespace {

// Within 3 ulp. Below 0.625 the odd polynomial of Cephes' tanhf (Moshier); above, 1 - 2 / (e^(2|x|) + 1).
DDP_INLINE v16 tanhv(v16 x) {
  const v16 magnitude = x < 0.0f ? -x : x, z = x * x;
  v16 p = z * -5.70498872745e-3f + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const v16 large = 1.0f - 2.0f / (expv(2.0f * magnitude) + 1.0f);
  return magnitude < 0.625f ? p * z * x + x : (x < 0.0f ? -large : large);
}

template <class Args, class F>
void forward(Stream& stream, const Args& a, F f) {
  cpu_enqueue(stream, [=](ThreadPool& pool) {
    with_storage(a.x.dtype,
                 [&]<class S>(S) { map_elements(pool, a.y.template as<S>(), a.x.template as<S>(), a.x.numel(), f); });
  });
}

// f(dy, y).
template <class Args, class F>
void backward(Stream& stream, const Args& a, F f) {
  cpu_enqueue(stream, [=](ThreadPool& pool) {
    with_storage(a.y.dtype, [&]<class S>(S) {
      map_elements(pool, a.dx.template as<S>(), a.dy.template as<S>(), a.y.template as<S>(), a.y.numel(), f);
    });
  });
}

}  // namespace

template <>
void run(Stream& stream, const ReluForward& a) {
  forward(stream, a, [](v16 x) { return x <= 0.0f ? v16{} : x; });
}

template <>
void run(Stream& stream, const ReluBackward& a) {
  backward(stream, a, [](v16 dy, v16 y) { return y <= 0.0f ? v16{} : dy; });
}

template <>
void run(Stream& stream, const TanhForward& a) {
  forward(stream, a, [](v16 x) { return tanhv(x); });
}

template <>
void run(Stream& stream, const TanhBackward& a) {
  backward(stream, a, [](v16 dy, v16 y) { return dy * (1.0f - y * y); });
}

}  // namespace ddp::cpu
