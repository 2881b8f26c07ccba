#include "kernels/op_table.h"

#include "kernels/cuda/cuda_ops.h"

namespace ddp {

namespace {

template <cuda::F32Products kF32Products>
constexpr OpTable make_table() {
  return {
      .linear_forward = cuda::linear_forward<kF32Products>,
      .linear_backward_input = cuda::linear_backward_input<kF32Products>,
      .linear_backward_weight = cuda::linear_backward_weight<kF32Products>,
      .layernorm_forward = cuda::layernorm_forward,
      .layernorm_backward = cuda::layernorm_backward,
      .gelu_forward = cuda::gelu_forward,
      .gelu_backward = cuda::gelu_backward,
      .attention_forward = cuda::attention_forward,
      .attention_backward = cuda::attention_backward,
      .embedding_forward = cuda::embedding_forward,
      .embedding_backward = cuda::embedding_backward,
      .cross_entropy = cuda::cross_entropy,
      .sum_into = cuda::sum_into,
      .add_into = cuda::add_into,
      .cast = cuda::cast,
      .sum_squares = cuda::sum_squares,
      .find_non_finite = cuda::find_non_finite,
      .step_finalize = cuda::step_finalize,
      .adamw = cuda::adamw,
      .storage = {DType::f32, DType::f16, DType::bf16},
  };
}

}  // namespace

const OpTable& cuda_op_table(bool tf32) {
  static constexpr OpTable kExact = make_table<cuda::F32Products::exact>(),
                           kTf32 = make_table<cuda::F32Products::tf32>();
  return tf32 ? kTf32 : kExact;
}

}  // namespace ddp
