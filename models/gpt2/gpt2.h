// GPT-2 (Radford et al., 2019): token and position embedding, pre-norm transformer blocks, a final norm, and a
// classifier that is tied to the token embedding. Shapes and the table of parameters are in README.md. Names and layout
// of the parameters are Hugging Face's, so that a saved model loads there and theirs load here.
#pragma once

#include <vector>

#include "models/gpt2/options/options.h"
#include "models/layers/classifier.h"
#include "models/layers/pre_norm_stack.h"
#include "runtime/state/model.h"

namespace ddp::gpt2 {

class Gpt2 final : public Model, public LanguageModel {
 public:
  // logits_rows: Classifier::rows_at_once.
  explicit Gpt2(const Options& options, int64_t logits_rows = 256);

  const ParamLayout& layout() const override { return layout_; }
  // tokens, targets: (T) i32 a sample; order: models/layers/token_order.h.
  const std::vector<Input>& inputs() const override { return inputs_; }
  int64_t targets_per_sample() const override { return options_.context; }
  WorkUnit unit() const override { return {.abbreviation = "tok", .plural = "tokens", .per_sample = options_.context}; }
  void train(const Exec& exec, Arena& arena, const TrainPass& pass) const override;
  void evaluate(const Exec& exec, Arena& arena, const EvalPass& pass) const override;

  const LanguageModel* language_model() const override { return this; }
  int64_t context() const override { return options_.context; }
  int64_t vocab() const override { return options_.vocab; }
  int64_t padded_vocab() const override { return ddp::padded_vocab(options_.vocab); }
  void generate(const Exec& exec, Arena& arena, const GeneratePass& pass) const override;

 private:
  PreNormStack::Activations forward(const Pass& pass, const TensorView& tokens, bool keep) const;

  Options options_;
  std::vector<Input> inputs_;
  ParamLayout layout_;
  ParamId wte_, wpe_;
  PreNormStack stack_;
  Classifier head_;
};

}  // namespace ddp::gpt2
