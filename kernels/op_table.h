// The table of a backend's entries, one per op of ops.h, swapped for the dry run, for timing, or for a naive reference.
// An entry may rely on the checks of the front door. It enqueues on `stream` and returns.
#pragma once

#include "kernels/ops.h"

namespace ddp {

struct OpTable {
  void (*linear_forward)(Stream&, const LinearForward&);
  void (*linear_backward_input)(Stream&, const LinearBackwardInput&);
  void (*linear_backward_weight)(Stream&, const LinearBackwardWeight&);
  void (*layernorm_forward)(Stream&, const LayerNormForward&);
  void (*layernorm_backward)(Stream&, const LayerNormBackward&);
  void (*gelu_forward)(Stream&, const GeluForward&);
  void (*gelu_backward)(Stream&, const GeluBackward&);
  void (*attention_forward)(Stream&, const AttentionForward&);
  void (*attention_backward)(Stream&, const AttentionBackward&);
  void (*embedding_forward)(Stream&, const EmbeddingForward&);
  void (*embedding_backward)(Stream&, const EmbeddingBackward&);
  void (*cross_entropy)(Stream&, const CrossEntropy&);
  void (*sum_into)(Stream&, const SumInto&);
  void (*add_into)(Stream&, const AddInto&);
  void (*cast)(Stream&, const Cast&);
  void (*sum_squares)(Stream&, const SumSquares&);
  void (*find_non_finite)(Stream&, const FindNonFinite&);
  void (*step_finalize)(Stream&, const StepFinalize&);
  void (*adamw)(Stream&, const AdamW&);
  DTypeSet storage = {};  // the types S of ops.h that the entries compute with
};

const OpTable& cpu_op_table();
// Enqueues nothing: the dry run's.
const OpTable& meta_op_table();
// Of libddp-cuda.so, and linked nowhere else. tf32: products of f32 on tensor cores, from sm_80 on.
const OpTable& cuda_op_table(bool tf32);
// The table that runs on a device of this kind; not of CUDA, whose table comes with its module.
const OpTable& op_table(DeviceKind kind);

}  // namespace ddp
