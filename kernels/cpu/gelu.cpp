// GELU: y = x P(x), P the weight of the input, in its two forms.
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/run.h"
#include "kernels/cpu/storage.h"
#include "kernels/erfc.h"
#include "kernels/ops/elementwise.h"
#include "runtime/device/cpu_device.h"

namespace ddp::cpu {
namespace {

DDP_INLINE v16 clamp(v16 x, float limit) {
  x = x > limit ? splat(limit) : x;
  return x < -limit ? splat(-limit) : x;
}

// With u = sqrt(2 / pi) (x + 0.044715 x^3), P = (1 + tanh(u)) / 2 = sigmoid(2 u): one exp, one division, and no
// cancellation for negative x.
struct TanhForm {
  static constexpr float kTwoSqrt2OverPi = 1.5957691216057308f, kCubic = 0.044715f;

  DDP_INLINE static v16 weight(v16 x) {
    return 1.0f / (1.0f + expv(x * (-kTwoSqrt2OverPi - (kTwoSqrt2OverPi * kCubic) * (x * x))));
  }
  DDP_INLINE static v16 slope(v16 x) {
    // From |x| = 20 on the weight is 0 or 1 exactly; there the cubic must not become infinity times zero.
    x = clamp(x, 20.0f);
    const v16 s = weight(x);
    const v16 du = kTwoSqrt2OverPi + (3.0f * kTwoSqrt2OverPi * kCubic) * (x * x);  // d(2u)/dx
    return s + x * s * (1.0f - s) * du;
  }
};

// P is the normal distribution's, by its upper tail erfc(|x| / sqrt(2)) / 2: within 5e-7 of P where it is above 1/2,
// and of the tail below but for the rounding of x^2 / 2, another 6e-8 x^2 / 2.
struct ErfForm {
  static constexpr float kSqrtHalf = 0.70710678118654752f, kHalfRoot2OverPi = 0.39894228040143268f;

  // bell: e^(-x^2 / 2)
  DDP_INLINE static v16 weight(v16 x, v16 bell) {
    const v16 magnitude = x < 0.0f ? -x : x;
    const v16 tail = 0.5f * bell * scaled_erfc(1.0f / (1.0f + (kErfcP * kSqrtHalf) * magnitude));
    return x < 0.0f ? tail : 1.0f - tail;
  }
  DDP_INLINE static v16 weight(v16 x) { return weight(x, expv(x * x * -0.5f)); }
  DDP_INLINE static v16 slope(v16 x) {
    x = clamp(x, 20.0f);  // as above
    const v16 bell = expv(x * x * -0.5f);
    return weight(x, bell) + x * (bell * kHalfRoot2OverPi);
  }
};

template <class F>
void with_form(GeluForm form, F f) {
  form == GeluForm::erf ? f(ErfForm{}) : f(TanhForm{});
}

}  // namespace

template <>
void run(Stream& stream, const GeluForward& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) {
    with_storage(a.x.dtype, [&]<class S>(S) {
      with_form(a.form, [&](auto form) {
        map_elements(pool, a.y.as<S>(), a.x.as<S>(), a.x.numel(), [=](v16 x) { return x * form.weight(x); });
      });
    });
  });
}

template <>
void run(Stream& stream, const GeluBackward& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) {
    with_storage(a.x.dtype, [&]<class S>(S) {
      with_form(a.form, [&](auto form) {
        map_elements(pool, a.dx.as<S>(), a.dy.as<S>(), a.x.as<S>(), a.x.numel(),
                     [=](v16 dy, v16 x) { return dy * form.slope(x); });
      });
    });
  });
}

}  // namespace ddp::cpu
