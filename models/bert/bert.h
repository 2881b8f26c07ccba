// BERT (Devlin et al., 2018): an encoder with one of two heads, by model.task. Shapes and the table of parameters are
// in README.md. Names and layout of what is saved are Hugging Face's, so that a saved model loads there and theirs load
// here.
#pragma once

#include <vector>

#include "models/bert/encoder.h"
#include "models/bert/masked_head.h"
#include "models/bert/options/options.h"
#include "models/bert/pooled_head.h"
#include "runtime/state/model.h"

namespace ddp::bert {

class Bert final : public Model {
 public:
  // logits_rows: of the masked positions, Classifier::rows_at_once.
  explicit Bert(const Options& options, int64_t logits_rows = 256);

  const ParamLayout& layout() const override { return layout_; }
  // tokens, types: (T) i32 a sample; order: models/layers/token_order.h. mlm: positions, targets (K) i32
  // (MaskedHead::Masked). classify: lengths, label i32.
  const std::vector<Input>& inputs() const override { return inputs_; }
  int64_t targets_per_sample() const override { return is_masked() ? options_.predictions : 1; }
  WorkUnit unit() const override { return {.abbreviation = "tok", .plural = "tokens", .per_sample = options_.context}; }
  void train(const Exec& exec, Arena& arena, const TrainPass& pass) const override;
  void evaluate(const Exec& exec, Arena& arena, const EvalPass& pass) const override;
  int num_eval_sums() const override { return kNumEvalSums; }

 private:
  bool is_masked() const { return options_.task == Task::mlm; }

  Options options_;
  std::vector<Input> inputs_;
  ParamLayout layout_;
  Encoder encoder_;
  MaskedHead masked_head_;  // one of the two
  PooledHead pooled_head_;
};

}  // namespace ddp::bert
