// ReLU and tanh; both are differentiated from their outputs. NaN stays NaN.
#include "kernels/cuda/elementwise.cuh"
//
#include "kernels/cuda/run.h"
#include "kernels/ops/elementwise.h"

namespace ddp::cuda {
namespace {

struct Relu {
  template <class S>
  __device__ __forceinline__ static float apply(float x) {
    return x <= 0.0f ? 0.0f : x;
  }
};

struct ReluGradient {
  template <class S>
  __device__ __forceinline__ static float apply(float dy, float y) {
    return y <= 0.0f ? 0.0f : dy;
  }
};

struct Tanh {
  template <class S>
  __device__ __forceinline__ static float apply(float x) {
    return tanhf(x);
  }
};

struct TanhGradient {
  template <class S>
  __device__ __forceinline__ static float apply(float dy, float y) {
    return dy * (1.0f - y * y);
  }
};

}  // namespace

template <>
void run(Stream& stream, const ReluForward& a) {
  map_elements<Relu>(stream, "relu_forward", a.y, a.x);
}

template <>
void run(Stream& stream, const ReluBackward& a) {
  map_elements<ReluGradient>(stream, "relu_backward", a.dx, a.dy, a.y);
}

template <>
void run(Stream& stream, const TanhForward& a) {
  map_elements<Tanh>(stream, "tanh_forward", a.y, a.x);
}

template <>
void run(Stream& stream, const TanhBackward& a) {
  map_elements<TanhGradient>(stream, "tanh_backward", a.dx, a.dy, a.y);
}

}  // namespace ddp::cuda
