#include "kernels/op_table.h"

#include "kernels/cuda/cuda_ops.h"

namespace ddp {

const OpTable& cuda_op_table() {
  static constexpr OpTable kTable = {
      .linear_forward = cuda::linear_forward,
      .linear_backward_input = cuda::linear_backward_input,
      .linear_backward_weight = cuda::linear_backward_weight,
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
      .storage = {DType::f32, DType::f16},
  };
  return kTable;
}

}  // namespace ddp
