#include "models/bert/bert.h"

#include <utility>

#include "models/layers/token_order.h"

namespace ddp::bert {
namespace {

std::vector<Input> inputs_of(const Options& o) {
  std::vector<Input> inputs = {{.name = "tokens", .sample = {o.context}, .limit = o.vocab},
                               {.name = "types", .sample = {o.context}, .limit = kTypes}};
  switch (o.task) {
    case Task::mlm:
      inputs.push_back({.name = "positions", .sample = {o.predictions}, .limit = o.context});
      inputs.push_back({.name = "targets", .sample = {o.predictions}, .limit = o.vocab, .is_target = true});
      break;
    case Task::classify:
      inputs.push_back({.name = "lengths", .sample = {}, .limit = o.context + 1});
      inputs.push_back({.name = "label", .sample = {}, .limit = o.classes, .is_target = true});
      break;
  }
  inputs.push_back(token_order(o.context));
  return inputs;
}

// Of a batch, in training with the order of its tokens.
Encoder::Text text_of(const Batch& batch, Task task, bool trains) {
  return {.tokens = batch["tokens"],
          .types = batch["types"],
          .lengths = task == Task::classify ? batch["lengths"] : TensorView(),
          .order = trains ? batch["order"].view({batch["order"].numel()}) : TensorView()};
}

MaskedHead::Masked masked_of(const Batch& batch) {
  return {.positions = batch["positions"], .targets = batch["targets"]};
}

}  // namespace

Bert::Bert(const Options& options, int64_t logits_rows) : options_(options), inputs_(inputs_of(options)) {
  // Backward order.
  if (is_masked())
    masked_head_.declare(layout_, options, logits_rows);
  else
    pooled_head_.declare(layout_, options);
  encoder_.declare(layout_, options);
  masked_head_.tie_to(encoder_.word_embedding());
  pooled_head_.set_dropout_site(encoder_.first_free_site());
  layout_.set_saved_names(saved_names(options));
}

void Bert::train(const Exec& exec, Arena& arena, const TrainPass& args) const {
  const Pass pass = Pass::of(exec, arena, *this, args, options_.dropout);
  const Encoder::Text text = text_of(args.batch, options_.task, /*trains=*/true);
  const Classifier::LossGrad loss_grad{args.grad_scale, args.loss_scale};
  Encoder::Activations a = encoder_.forward(pass, text, /*keep=*/true);

  SummedGrad dword(pass, encoder_.word_embedding());
  ArenaTensor dhidden = pass.take(a.out.out.view().shape, "dhidden");
  if (is_masked()) {
    masked_head_.forward_backward(pass, dhidden, dword, a.out.out, masked_of(args.batch), loss_grad);
  } else {
    if (!pass.accumulate) exec.stream->zero(dword.view());
    pooled_head_.forward_backward(pass, dhidden, a.out.out, args.batch["label"], loss_grad);
  }
  a.out.out.release();
  encoder_.backward(pass, std::move(a), std::move(dhidden), dword, text);
}

void Bert::evaluate(const Exec& exec, Arena& arena, const EvalPass& args) const {
  const Pass pass = Pass::of(exec, arena, *this, args);
  const Encoder::Activations a =
      encoder_.forward(pass, text_of(args.batch, options_.task, /*trains=*/false), /*keep=*/false);
  if (is_masked())
    masked_head_.forward(pass, a.out.out, masked_of(args.batch));
  else
    pooled_head_.forward(pass, a.out.out, args.batch["label"]);
}

}  // namespace ddp::bert
