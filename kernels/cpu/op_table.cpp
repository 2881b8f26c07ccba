#include "kernels/op_table.h"

#include "kernels/cpu/cpu_ops.h"

namespace ddp {

const OpTable& cpu_op_table() {
  static constexpr OpTable kTable = {
      .linear_forward = cpu::linear_forward,
      .linear_backward_input = cpu::linear_backward_input,
      .linear_backward_weight = cpu::linear_backward_weight,
      .layernorm_forward = cpu::layernorm_forward,
      .layernorm_backward = cpu::layernorm_backward,
      .gelu_forward = cpu::gelu_forward,
      .gelu_backward = cpu::gelu_backward,
      .attention_forward = cpu::attention_forward,
      .attention_backward = cpu::attention_backward,
      .embedding_forward = cpu::embedding_forward,
      .embedding_backward = cpu::embedding_backward,
      .cross_entropy = cpu::cross_entropy,
      .sum_into = cpu::sum_into,
      .add_into = cpu::add_into,
      .cast = cpu::cast,
      .sum_squares = cpu::sum_squares,
      .find_non_finite = cpu::find_non_finite,
      .step_finalize = cpu::step_finalize,
      .adamw = cpu::adamw,
      .storage = {DType::f32, DType::f16, DType::bf16},
  };
  return kTable;
}

}  // namespace ddp
