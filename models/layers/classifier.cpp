#include "models/layers/classifier.h"

#include <algorithm>
#include <bit>

#include "runtime/base/rounding.h"

namespace ddp {
namespace {

constexpr int64_t kCpuVocabRows = 256;
constexpr int64_t kCudaLogitsBytes = 128 << 20;

// Calls f(first row, rows, logits (rows, V)) for each group of the M rows.
template <class F>
void for_row_groups(const Pass& pass, int64_t m, int64_t vocab, int64_t rows_at_once, F f) {
  for (int64_t begin = 0; begin < m; begin += rows_at_once) {
    const int64_t rows = std::min(rows_at_once, m - begin);
    const ArenaTensor logits = pass.take({rows, vocab}, "logits");
    f(begin, rows, logits.view());
  }
}

// The tensors of a loss, and their sums at the end.
class Losses {
 public:
  Losses(const Pass& pass, const TensorView& targets)
      : pass_(pass), targets_(targets), loss_(pass.take_wide(targets.shape, "loss")) {
    if (pass.sums.dim(1) == kNumEvalSums) ranks_ = pass.arena.take(targets.shape, "ranks", DType::i32);
  }
  TensorView loss(int64_t begin, int64_t rows) const { return loss_.view().rows(begin, rows); }
  TensorView ranks(int64_t begin, int64_t rows) const {
    return ranks_.view() ? ranks_.view().rows(begin, rows) : TensorView();
  }
  void sum() const {
    sum_losses(
        pass_.exec,
        {.sums = pass_.sums, .loss = loss_, .targets = targets_, .ranks = ranks_, .accumulate = pass_.accumulate});
  }

 private:
  const Pass& pass_;
  TensorView targets_;
  ArenaTensor loss_, ranks_;
};

}  // namespace

int64_t padded_vocab(int64_t vocab) { return round_up(vocab, 64); }

int64_t vocab_rows_at_once(int64_t vocab, DType storage, DeviceKind device) {
  if (device != DeviceKind::cuda) return kCpuVocabRows;
  const int64_t row = padded_vocab(vocab) * int64_t(dtype_bytes(storage));
  return int64_t(std::bit_floor(uint64_t(std::max<int64_t>(1, kCudaLogitsBytes / row))));
}

void Classifier::forward(const Pass& pass, const TensorView& x, const TensorView& targets) const {
  const TensorView w = pass.param(weight);
  const Losses losses(pass, targets);
  for_row_groups(pass, x.dim(0), w.dim(0), rows_at_once, [&](int64_t begin, int64_t rows, const TensorView& logits) {
    linear_forward(pass.exec,
                   {.y = logits, .x = x.rows(begin, rows), .w = w, .bias = bias_of(pass), .w_transposed = true});
    cross_entropy(pass.exec, {.logits = logits,
                              .loss = losses.loss(begin, rows),
                              .targets = targets.rows(begin, rows),
                              .live_columns = live_columns,
                              .backward = false,
                              .ranks = losses.ranks(begin, rows)});
  });
  losses.sum();
}

void Classifier::forward_backward(const Pass& pass, const Grads& grads, const TensorView& x, const TensorView& targets,
                                  const LossGrad& loss_grad) const {
  const TensorView w = pass.param(weight);
  const Losses losses(pass, targets);
  for_row_groups(pass, x.dim(0), w.dim(0), rows_at_once, [&](int64_t begin, int64_t rows, const TensorView& logits) {
    const TensorView x_rows = x.rows(begin, rows);
    linear_forward(pass.exec, {.y = logits, .x = x_rows, .w = w, .bias = bias_of(pass), .w_transposed = true});
    cross_entropy(pass.exec, {.logits = logits,
                              .loss = losses.loss(begin, rows),
                              .targets = targets.rows(begin, rows),
                              .live_columns = live_columns,
                              .scale = loss_grad.scale,
                              .loss_scale = loss_grad.loss_scale,
                              .backward = true,
                              .label_smoothing = label_smoothing});
    const TensorView& dlogits = logits;  // overwritten in place
    linear_backward_input(pass.exec, {.dx = grads.dx.rows(begin, rows), .dy = dlogits, .w = w, .w_transposed = true});
    linear_backward_weight(pass.exec, {.dw = grads.dw,
                                       .db = grads.db,
                                       .x = x_rows,
                                       .dy = dlogits,
                                       .w_transposed = true,
                                       .accumulate = pass.accumulate || begin > 0});
  });
  losses.sum();
}

}  // namespace ddp
