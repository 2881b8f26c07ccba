// Model: what the trainer knows of a model. A model lays out its parameters, says what it takes, and enqueues forward
// and backward; it announces each gradient when its last write is enqueued and knows nothing of ranks, buckets or
// optimizers. What only some models can do is an ability, a class of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "runtime/base/loss_sums.h"
#include "runtime/device/arena.h"
#include "runtime/device/device.h"
#include "runtime/state/batch.h"
#include "runtime/state/param_layout.h"
#include "runtime/state/work_unit.h"

namespace ddp {

struct Exec;

// Parameters, gradients and logits of these are flat or shaped as layout() says. The type of the parameters is the
// storage type S of all that the pass computes (kernels/ops.h).
struct TrainPass {
  TensorView params;
  TensorView grads;         // S or f32; only f32 where accumulate
  bool accumulate = false;  // gradients "+=", else "="
  Batch batch;
  const uint32_t* attempted_step = nullptr;  // device: the key of dropout
  uint32_t seed = 0;
  // Each target's loss enters the gradients with this factor times *loss_scale. It is 1 / the targets of a full global
  // batch: summed over micro-batches and ranks, the gradients are then those of the mean loss.
  float grad_scale = 1.0f;
  const float* loss_scale = nullptr;  // device; nullptr: 1
  // f64 (2), "=" or "+=" as the gradients: the sum of the losses, and how many targets were counted, those not below 0
  // (LossSum).
  TensorView sums;
  // f64 (state_layout().flat_elements()), likewise: what this micro-batch says of each element of the state. Empty
  // where there is no state.
  TensorView statistics;
  std::function<void(ParamId)> ready;  // once for each parameter, after its gradient's last write is enqueued
};

struct EvalPass {
  TensorView params;
  TensorView state;  // f32 (state_layout().flat_elements()), read; empty where there is none
  Batch batch;
  TensorView sums;  // f64 (B, num_eval_sums()), a sample's by LossSum, written
};

struct GeneratePass {
  TensorView params;
  TensorView tokens;     // (1,T) i32
  int64_t position = 0;  // logits are of the token after this one; later tokens are not looked at
  TensorView logits;     // (1, padded_vocab()) S, written
};

// What a language model can do beside learning: go on from tokens.
class LanguageModel {
 public:
  virtual ~LanguageModel() = default;
  virtual int64_t context() const = 0;       // tokens that it sees at once
  virtual int64_t vocab() const = 0;         // logits that mean something,
  virtual int64_t padded_vocab() const = 0;  // of these
  virtual void generate(const Exec& exec, Arena& arena, const GeneratePass& pass) const = 0;
};

class Model {
 public:
  virtual ~Model() = default;
  virtual const ParamLayout& layout() const = 0;
  // State that is not a parameter: f32, without gradient, decay or moments. Evaluation reads it; a step moves each
  // element by state_momentum() towards the mean of what the step's micro-batches said of it (TrainPass::statistics).
  virtual const ParamLayout& state_layout() const;
  virtual double state_momentum() const { return 0.1; }
  // What a batch holds.
  virtual const std::vector<Input>& inputs() const = 0;
  // Losses that a sample has, counted or not.
  virtual int64_t targets_per_sample() const = 0;
  virtual WorkUnit unit() const = 0;
  // These enqueue on exec.stream and take what they need from the arena, between its begin() and end().
  virtual void train(const Exec& exec, Arena& arena, const TrainPass& pass) const = 0;
  virtual void evaluate(const Exec& exec, Arena& arena, const EvalPass& pass) const = 0;
  // Of LossSum, from the first: two, or all where it is counted how often the target ranks first and among five.
  virtual int num_eval_sums() const { return kNumTrainSums; }
  // nullptr: it is none.
  virtual const LanguageModel* language_model() const { return nullptr; }
};

}  // namespace ddp
