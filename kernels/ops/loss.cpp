#include "kernels/ops/loss.h"

#include "kernels/ops/front_door.h"

namespace ddp {

void cross_entropy(const Exec& exec, const CrossEntropy& a) {
  constexpr const char* kOp = "cross_entropy";
  DDP_CHECK(a.logits.shape.rank == 2 && a.live_columns >= 1 && a.live_columns <= a.logits.dim(1),
            "{}: logits {}, {} live", kOp, a.logits.shape.text(), a.live_columns);
  const int64_t m = a.logits.dim(0);
  check_shape(kOp, "loss", a.loss, {m}, wide(storage_type(kOp, exec, a.logits)));
  check_shape(kOp, "targets", a.targets, {m}, DType::i32);
  check_optional(kOp, "ranks", a.ranks, {m}, DType::i32);
  DDP_CHECK(!a.ranks || !a.backward, "{}: ranks of logits that the gradient overwrites", kOp);
  DDP_CHECK(a.label_smoothing >= 0.0f && a.label_smoothing < 1.0f, "{}: label smoothing {}", kOp, a.label_smoothing);
  submit(exec, kOp, 0, a, {a.targets}, {a.logits, a.loss, a.ranks});
}

void sum_losses(const Exec& exec, const SumLosses& a) {
  constexpr const char* kOp = "sum_losses";
  const int64_t m = a.targets.numel();
  const int64_t s = a.sums.dim(0);
  check_shape(kOp, "sums", a.sums, {s, a.ranks ? kNumEvalSums : kNumTrainSums}, DType::f64);
  DDP_CHECK(s >= 1 && m % s == 0, "{}: sums of {} samples over {} targets", kOp, s, m);
  check_shape(kOp, "loss", a.loss, {m}, wide(a.loss.dtype));
  check_shape(kOp, "targets", a.targets, {m}, DType::i32);
  check_optional(kOp, "ranks", a.ranks, {m}, DType::i32);
  submit(exec, kOp, 0, a, {a.loss, a.targets, a.ranks}, {a.sums});
}

}  // namespace ddp
