// GELU: y = x P(x), P the weight of the input, in its two forms.
#include "kernels/cuda/elementwise.cuh"
//
#include "kernels/cuda/run.h"
#include "kernels/erfc.h"
#include "kernels/ops/elementwise.h"

namespace ddp::cuda {
namespace {

// NaN stays NaN.
__device__ __forceinline__ float clamp(float x, float limit) {
  x = x > limit ? limit : x;
  return x < -limit ? -limit : x;
}

// With u = sqrt(2 / pi) (x + 0.044715 x^3), P = (1 + tanh(u)) / 2 = sigmoid(2 u): one exp, one division, and no
// cancellation for negative x.
struct TanhForm {
  static constexpr float kTwoSqrt2OverPi = 1.5957691216057308f, kCubic = 0.044715f;

  template <class S>
  __device__ __forceinline__ static float weight(float x) {
    return 1.0f / (1.0f + exp_for<S>(x * (-kTwoSqrt2OverPi - (kTwoSqrt2OverPi * kCubic) * (x * x))));
  }
  template <class S>
  __device__ __forceinline__ static float slope(float x) {
    // From |x| = 20 on the weight is 0 or 1 exactly; there the cubic must not become infinity times zero.
    x = clamp(x, 20.0f);
    const float s = weight<S>(x);
    const float du = kTwoSqrt2OverPi + (3.0f * kTwoSqrt2OverPi * kCubic) * (x * x);  // d(2u)/dx
    return s + x * s * (1.0f - s) * du;
  }
};

// P is the normal distribution's, by its upper tail erfc(|x| / sqrt(2)) / 2: within 5e-7 of P where it is above 1/2,
// and of the tail below but for the rounding of x^2 / 2, another 6e-8 x^2 / 2.
struct ErfForm {
  static constexpr float kSqrtHalf = 0.70710678118654752f, kHalfRoot2OverPi = 0.39894228040143268f;

  // bell: e^(-x^2 / 2)
  __device__ __forceinline__ static float weight_from(float x, float bell) {
    const float tail = 0.5f * bell * scaled_erfc(1.0f / (1.0f + (kErfcP * kSqrtHalf) * fabsf(x)));
    return x < 0.0f ? tail : 1.0f - tail;
  }
  template <class S>
  __device__ __forceinline__ static float weight(float x) {
    return weight_from(x, exp_for<S>(x * x * -0.5f));
  }
  template <class S>
  __device__ __forceinline__ static float slope(float x) {
    x = clamp(x, 20.0f);  // as above
    const float bell = exp_for<S>(x * x * -0.5f);
    return weight_from(x, bell) + x * (bell * kHalfRoot2OverPi);
  }
};

template <class Form>
struct Forward {
  template <class S>
  __device__ __forceinline__ static float apply(float x) {
    return x * Form::template weight<S>(x);
  }
};

template <class Form>
struct Backward {
  template <class S>
  __device__ __forceinline__ static float apply(float dy, float x) {
    return dy * Form::template slope<S>(x);
  }
};

}  // namespace

template <>
void run(Stream& stream, const GeluForward& a) {
  const bool is_erf = a.form == GeluForm::erf;
  is_erf ? map_elements<Forward<ErfForm>>(stream, "gelu_forward", a.y, a.x)
         : map_elements<Forward<TanhForm>>(stream, "gelu_forward", a.y, a.x);
}

template <>
void run(Stream& stream, const GeluBackward& a) {
  const bool is_erf = a.form == GeluForm::erf;
  is_erf ? map_elements<Backward<ErfForm>>(stream, "gelu_backward", a.dx, a.dy, a.x)
         : map_elements<Backward<TanhForm>>(stream, "gelu_backward", a.dx, a.dy, a.x);
}

}  // namespace ddp::cuda
