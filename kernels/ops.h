// The operations of a training step. Each is one struct of arguments and one free function: the front door, which
// checks shapes and dtypes once for every backend, tells the observer (dry run, timing) what it costs, and hands over
// to the backend's entry in the op table. Everything runs in order on exec.stream; nothing here waits. Tensors are
// row-major and contiguous, outputs are written ("="), and inputs and outputs do not overlap, unless said otherwise.
//
// Types. Parameters and activations have the storage type S of the run: f32, f16 or bf16, the same for all arguments of
// a call (OpTable::storage). G, the type of a weight gradient, is S or f32; a 16-bit G is "=" only, since sums over
// micro-steps are kept in f32. A type that is not stated is S. Products, sums, statistics and everything inside an op
// are f32 or wider; each output element is rounded once.
//
// Every sum has an order fixed by the shapes alone, so results do not depend on the number of threads.
//
// Legend: B samples, T positions, C width, H heads, D = C / H, V vocabulary (padded), M = rows (B * T), K in, N out
// features.
#pragma once

#include <cstdint>

#include "runtime/device/device.h"
#include "runtime/device/tensor.h"

namespace ddp {

struct OpTable;

struct OpInfo {
  const char* name = "";
  int64_t flops = 0;  // multiply and add count as two; of products only, causal attention counted as it is computed
  int64_t bytes = 0;  // of the arguments, each once
};

// Sees every op as it is enqueued: the dry run counts, the timer records events around.
class OpObserver {
 public:
  virtual ~OpObserver() = default;
  virtual void before(const OpInfo& info, Stream& stream) = 0;
  virtual void after(const OpInfo& info, Stream& stream) = 0;
};

// Where and how ops run. Copied by value.
struct Exec {
  const OpTable* table = nullptr;
  Stream* stream = nullptr;
  OpObserver* observer = nullptr;
};

// Dropout as a pure function of (seed, attempted step, sample, site, element): the same mask for every number of ranks,
// and again in backward without storing it. An element is kept when its 32-bit Philox word >= p * 2^32, and then scaled
// by 1 / (1 - p). Words: philox(key = {seed, *step}, counter = {c0, c1, site << 8 | head, sample}), head < 2^8. Rows of
// C elements: element e of a sample is word e % 4 of c0 = e / 4, c1 = 0, head = 0. Attention: the probability (q, k) is
// word 2 * (q / 8 % 2) + k / 8 % 2 of c0 = q / 16 * 8 + q % 8, c1 = k / 16 * 8 + k % 8.
struct Dropout {
  float p = 0.0f;  // 0: none, the other fields are not read
  uint32_t seed = 0;
  uint32_t site = 0;                    // < 2^24, one for each place in the model
  const uint32_t* step = nullptr;       // device: the attempted step
  const int32_t* sample_ids = nullptr;  // device (B): index of each sample in the global batch
  int64_t num_samples = 0;              // B: a tensor of M rows has M / B rows a sample
};

// ---- linear layers ----

// y (M,N) = x (M,K) w + bias (N). w is (K,N), or (N,K) where w_transposed. bias may be empty.
struct LinearForward {
  TensorView y, x, w;
  TensorView bias = {};
  bool w_transposed = false;
};
void linear_forward(const Exec& exec, const LinearForward& a);

// dx (M,K) = dy (M,N) w^T.
struct LinearBackwardInput {
  TensorView dx, dy, w;
  bool w_transposed = false;
};
void linear_backward_input(const Exec& exec, const LinearBackwardInput& a);

// dw G (=|+=) x^T dy, shaped as w; db (N) G (=|+=) column sums of dy, may be empty. "+=" where accumulate.
struct LinearBackwardWeight {
  TensorView dw;
  TensorView db = {};
  TensorView x, dy;
  bool w_transposed = false;
  bool accumulate = false;
};
void linear_backward_weight(const Exec& exec, const LinearBackwardWeight& a);

// ---- layer norm and the residual stream ----

// residual_out (M,C) = residual_in (M,C) + dropout(branch (M,C)); y (M,C) = layernorm(residual_out) w + b; mean, rstd
// (M) f32. The norm is of residual_out as it is stored. branch may be empty: then residual_out is not written (may be
// empty) and y is the norm of residual_in. residual_out may be residual_in.
struct LayerNormForward {
  TensorView residual_out = {};
  TensorView y, mean, rstd, residual_in;
  TensorView branch = {};
  TensorView w, b;
  float eps = 1e-5f;
  Dropout dropout = {};
};
void layernorm_forward(const Exec& exec, const LayerNormForward& a);

// dresidual (M,C) (=|+= where accumulate_residual) the norm's gradient with respect to its input x (M,C);
// dbranch (M,C) = dropout mask of the finished dresidual, empty where there is no dropout (the branch's gradient is
// dresidual); dw, db (C) G (=|+= where accumulate). workspace: layernorm_workspace(M, C) bytes.
struct LayerNormBackward {
  TensorView dresidual;
  TensorView dbranch = {};
  TensorView dw, db, dy, x, mean, rstd, w, workspace;
  bool accumulate_residual = true;
  bool accumulate = false;
  Dropout dropout = {};
};
void layernorm_backward(const Exec& exec, const LayerNormBackward& a);
int64_t layernorm_workspace(int64_t m, int64_t c);  // bytes

// ---- GELU (tanh form) ----

struct GeluForward {
  TensorView y, x;  // same shape
};
void gelu_forward(const Exec& exec, const GeluForward& a);

// dx = dy * gelu'(x). dx may be dy.
struct GeluBackward {
  TensorView dx, dy, x;
};
void gelu_backward(const Exec& exec, const GeluBackward& a);

// ---- attention ----

// out (B,T,C) = dropout(softmax(q k^T / sqrt(D), causal)) v by head, from qkv (B,T,3C) = q | k | v, each H heads of D.
// Keeps only lse (B,H,T), the log-sum-exp of each row of scores: never a T x T matrix in memory (FlashAttention, Dao et
// al.). lse is f32. With 16-bit storage probabilities are rounded to S before the product with v, as tensor cores take
// them.
struct AttentionForward {
  TensorView out, lse, qkv;
  int64_t heads = 1;
  Dropout dropout = {};
};
void attention_forward(const Exec& exec, const AttentionForward& a);

// dqkv (B,T,3C) = gradient with respect to qkv. workspace: attention_workspace(B, T, H) bytes.
struct AttentionBackward {
  TensorView dqkv, dout, out, qkv, lse, workspace;
  int64_t heads = 1;
  Dropout dropout = {};
};
void attention_backward(const Exec& exec, const AttentionBackward& a);
int64_t attention_workspace(int64_t b, int64_t t, int64_t h);  // bytes

// ---- embedding ----

// out (B,T,C) = dropout(wte (V,C)[tokens (B,T) i32] + wpe (>= T, C)[t]).
struct EmbeddingForward {
  TensorView out, tokens, wte, wpe;
  Dropout dropout = {};
};
void embedding_forward(const Exec& exec, const EmbeddingForward& a);

// dwte (V,C) f32 += scatter of dropout(dout (B,T,C)), in the order of positions; dwpe (>= T, C) G (=|+= where
// accumulate) its sum over samples, rows past T zero where "=". order (B*T) i32, for backends that sum by token (CUDA;
// elsewhere may be empty): the positions 0 .. B*T-1 sorted by token, ascending for equal tokens.
struct EmbeddingBackward {
  TensorView dwte, dwpe, dout, tokens;
  TensorView order = {};
  bool accumulate = false;
  Dropout dropout = {};
};
void embedding_backward(const Exec& exec, const EmbeddingBackward& a);

// ---- loss ----

// loss (M) f32 = -log softmax(logits (M,V))[target], over the first `live_columns` columns; where `backward`, logits
// are overwritten with scale * *loss_scale * (softmax - onehot), and with zero in the padding columns. targets (M) i32;
// a target < 0 is ignored: loss and gradient 0. One pass over a chunk of rows, so that the full logits never exist.
struct CrossEntropy {
  TensorView logits, loss, targets;
  int64_t live_columns = 0;
  float scale = 1.0f;
  const float* loss_scale = nullptr;  // device; nullptr: 1
  bool backward = true;
};
void cross_entropy(const Exec& exec, const CrossEntropy& a);

// out (1) f64 (=|+= where accumulate) the sum of x (n) f32, in double, over fixed blocks.
struct SumInto {
  TensorView out, x;
  bool accumulate = false;
};
void sum_into(const Exec& exec, const SumInto& a);

// ---- gradients and the optimizer ----

// y (n) = x (n), each rounded to the nearest, ties to even; both of any of f32, f16, bf16. A value beyond f16 becomes
// infinite.
struct Cast {
  TensorView y, x;
};
void cast(const Exec& exec, const Cast& a);

// y (n) += x (n); f32 or f64.
struct AddInto {
  TensorView y, x;
};
void add_into(const Exec& exec, const AddInto& a);

// What kernels of a step read and write on the device instead of host values, so that a step has no data-dependent host
// branch and can be replayed. One per rank, in device memory.
struct StepScalars {
  uint32_t attempted_step = 1;                  // the step being run: read by dropout
  uint32_t applied_steps = 0;                   // updates made so far: indexes the learning rates
  double beta1_power = 1.0, beta2_power = 1.0;  // beta^applied_steps
  float loss_scale = 1.0f;                      // of the step being run: read by cross_entropy
  uint32_t growth_count = 0;                    // updates since the scale changed or a step was skipped
  uint32_t floor_skips = 0;                     // consecutive skips that found the scale at its floor already
  // Written by step_finalize for the update that follows:
  float lr = 0.0f;
  float grad_scale = 0.0f;   // clip factor / loss scale
  float step_size = 0.0f;    // lr / (1 - beta1^t)
  float rsqrt_bias2 = 0.0f;  // 1 / sqrt(1 - beta2^t)
  uint32_t skip = 0;         // 1: a gradient or the loss is not finite, this update is skipped
};

// How the loss scale follows overflows, on the device: a skip multiplies it by `backoff`, not below `floor`; `interval`
// updates in a row multiply it by `growth`, not above `cap`. The default never changes: a static scale.
struct LossScaling {
  float growth = 1.0f, backoff = 1.0f, floor = 1.0f, cap = 1.0f;
  uint32_t interval = UINT32_MAX;
};

// What ranks sum beside the gradients, by place in f64 (kFirstMark + ranks). From kFirstMark on each rank's mark, set
// by that rank alone: what find_non_finite says of its gradients before the sum.
enum LossVote : int64_t { kLossSum, kStopVotes, kCheckpointVotes, kFirstMark };

// What the host reads of a step, one step late.
struct StepMetrics {
  double loss_sum;    // over the global batch's tokens
  double stop_votes;  // ranks that were asked to stop, and to checkpoint, when they enqueued the step
  double checkpoint_votes;
  double grad_norm;  // of the unscaled gradients
  double beta1_power, beta2_power;
  int64_t bad_chunk;  // a chunk with a gradient that is not finite, of bad_rank's or of the sum; -1: none, so that a
                      // step is skipped for its loss alone
  int64_t bad_rank;   // the first rank whose own gradients are not finite; -1: none
  float lr;
  float loss_scale, next_loss_scale;  // of this step, and of the one that follows
  uint32_t growth_count, floor_skips;
  uint32_t attempted_step, applied_steps, skipped;
};

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

// From all partials (in chunk order, in double): norm, clip factor (clip_norm 0: none), skip, learning rate, bias
// correction and the next loss scale into *scalars; {loss, votes} and these into *metrics; then counts the step.
struct StepFinalize {
  StepScalars* scalars = nullptr;
  StepMetrics* metrics = nullptr;
  TensorView partials;    // f64 (chunks)
  TensorView loss_votes;  // f64 (kFirstMark + ranks) by LossVote, summed over ranks
  TensorView lr_table;    // f32: lr of the update after i applied ones is lr_table[i]
  double clip_norm = 0, beta1 = 0, beta2 = 0;
  LossScaling scaling = {};
};
void step_finalize(const Exec& exec, const StepFinalize& a);

// One pass (28 bytes a parameter), where !scalars->skip: g' = g * grad_scale; m = b1 m +
// (1-b1) g'; v = b2 v + (1-b2) g'^2; p -= lr wd p + step_size m / (sqrt(v) rsqrt_bias2 + eps); rounded = p. Decoupled
// decay: Loshchilov and Hutter, 2019. p, m, v (n) f32 and g (n), f32 or 16-bit, cover exactly the chunks of chunk_begin
// (n_chunks + 1) i64; chunk_decay (n_chunks) f32 multiplies weight_decay. rounded (n) f16 or bf16: the parameters that
// forward and backward read, where p is their master copy; else empty.
struct AdamW {
  TensorView p, m, v, g, chunk_begin, chunk_decay;
  TensorView rounded = {};
  const StepScalars* scalars = nullptr;
  float beta1 = 0, beta2 = 0, eps = 0, weight_decay = 0;
};
void adamw(const Exec& exec, const AdamW& a);

}  // namespace ddp
