// The end of a step: what the gradients are, and the optimizer's update. Conventions: kernels/ops.h.
#pragma once

#include <cstdint>

#include "kernels/exec.h"
#include "kernels/op_list.h"
#include "kernels/step_state.h"
#include "runtime/device/tensor.h"

namespace ddp {

// partials (n_chunks) f64 = sum of squares of x (f32, f16 or bf16) over each chunk; not finite where an element is not.
// Chunks cover x exactly and in order: chunk s is elements [chunk_begin[s] - chunk_begin[0], chunk_begin[s+1] -
// chunk_begin[0]) of x, chunk_begin (n_chunks + 1) i64 in device memory.
struct SumSquares {
  TensorView partials, x, chunk_begin;
};
void sum_squares(const Exec& exec, const SumSquares& a);

// mark (1) f64 = 1 + the first chunk whose partial (n_chunks) f64 is not finite; 0: none.
struct FindNonFinite {
  TensorView mark, partials;
};
void find_non_finite(const Exec& exec, const FindNonFinite& a);

// From all partials (in chunk order, in double), sums and statistics: norm, clip factor, what becomes of the update,
// learning rate and the next loss scale into *scalars; sums, votes and these into *metrics; then counts the step.
struct StepFinalize {
  StepScalars* scalars = nullptr;
  StepMetrics* metrics = nullptr;
  TensorView partials;         // f64 (chunks)
  TensorView sums;             // f64 (kFirstMark + num_ranks) by LossSum and StepSum, summed over ranks
  TensorView statistics = {};  // f64 (n), likewise; may be empty
  int64_t num_ranks = 1;
  const LearningRates* rates = nullptr;  // device
  StepRule rule = {};
};
void step_finalize(const Exec& exec, const StepFinalize& a);

// What corrects the bias of AdamW's moments after t updates. In device memory.
struct AdamWCorrection {
  float step_size = 0.0f;    // lr / (1 - beta1^t)
  float rsqrt_bias2 = 0.0f;  // 1 / sqrt(1 - beta2^t)
};

// Where !scalars->skips(): powers (2) f64 *= {beta1, beta2}, and *correction from them. They are running products in
// double: pow() would give other bits. The betas are f32 as AdamW's are: of one near 1, 1 - beta is another number in
// f64, and moments that filled up with the one would be corrected for the other.
struct AdamWCorrect {
  TensorView powers;
  AdamWCorrection* correction = nullptr;
  const StepScalars* scalars = nullptr;
  float beta1 = 0, beta2 = 0;
};
void adamw_correct(const Exec& exec, const AdamWCorrect& a);

// One pass (28 bytes a parameter), where !scalars->skips(): g' = g * grad_scale; m = b1 m +
// (1-b1) g'; v = b2 v + (1-b2) g'^2; p -= lr wd p + step_size m / (sqrt(v) rsqrt_bias2 + eps); rounded = p. Decoupled
// decay: Loshchilov and Hutter, 2019. p, m, v (n) f32 and g (n), f32 or 16-bit, cover exactly the chunks of chunk_begin
// (n_chunks + 1) i64; chunk_decay (n_chunks) f32 multiplies weight_decay. rounded (n) f16 or bf16: the parameters that
// forward and backward read, where p is their master copy; else empty.
struct AdamW {
  TensorView p, m, v, g, chunk_begin, chunk_decay;
  TensorView rounded = {};
  const StepScalars* scalars = nullptr;
  const AdamWCorrection* correction = nullptr;
  float beta1 = 0, beta2 = 0, eps = 0, weight_decay = 0;
};
void adamw(const Exec& exec, const AdamW& a);

// One pass (12 bytes a parameter, 20 with momentum) where !scalars->skips(), as torch.optim.SGD's without dampening: g'
// = g * grad_scale + wd p; m = momentum m + g'; p -= lr (nesterov: g' + momentum m; else m); rounded = p. m (n) f32,
// zero before the first update; empty where momentum is 0: then p -= lr g'. The rest as AdamW's.
struct Sgd {
  TensorView p, g, chunk_begin, chunk_decay;
  TensorView m = {}, rounded = {};
  const StepScalars* scalars = nullptr;
  float momentum = 0, weight_decay = 0;
  bool nesterov = false;
};
void sgd(const Exec& exec, const Sgd& a);

// Where !scalars->skips(): state (n) f32 moves by `momentum` towards the mean of `num_micro_batches` observations,
// whose sum is statistics (n) f64. In double, rounded once.
struct UpdateState {
  TensorView state, statistics;
  const StepScalars* scalars = nullptr;
  double momentum = 0;
  int64_t num_micro_batches = 1;
};
void update_state(const Exec& exec, const UpdateState& a);

using StepOps = OpList<SumSquares, FindNonFinite, StepFinalize, AdamWCorrect, AdamW, Sgd, UpdateState>;

}  // namespace ddp
