#include "kernels/ops/step.h"

#include "kernels/ops/front_door.h"

namespace ddp {
namespace {

// What all updates of the flat parameters have alike.
template <class Update>
void check_update(const char* op, const Exec& exec, const Update& a) {
  const int64_t n = a.p.numel(), chunks = a.chunk_decay.numel();
  check_shape(op, "p", a.p, {n});
  check_shape(op, "g", a.g, {n}, storage_type(op, exec, a.g));
  check_optional(op, "rounded", a.rounded, {n}, a.rounded.dtype);
  check_shape(op, "chunk_begin", a.chunk_begin, {chunks + 1}, DType::i64);
  check_shape(op, "chunk_decay", a.chunk_decay, {chunks});
  DDP_CHECK(a.scalars != nullptr, "{} without scalars", op);
}

}  // namespace

void sum_squares(const Exec& exec, const SumSquares& a) {
  const int64_t chunks = a.partials.numel();
  check_shape("sum_squares", "partials", a.partials, {chunks}, DType::f64);
  check_shape("sum_squares", "x", a.x, {a.x.numel()}, storage_type("sum_squares", exec, a.x));
  check_shape("sum_squares", "chunk_begin", a.chunk_begin, {chunks + 1}, DType::i64);
  submit(exec, "sum_squares", 0, a, {a.x, a.chunk_begin}, {a.partials});
}

void find_non_finite(const Exec& exec, const FindNonFinite& a) {
  check_shape("find_non_finite", "mark", a.mark, {1}, DType::f64);
  check_shape("find_non_finite", "partials", a.partials, {a.partials.numel()}, DType::f64);
  submit(exec, "find_non_finite", 0, a, {a.partials}, {a.mark});
}

void step_finalize(const Exec& exec, const StepFinalize& a) {
  check_shape("step_finalize", "partials", a.partials, {a.partials.numel()}, DType::f64);
  check_shape("step_finalize", "sums", a.sums, {kFirstMark + a.num_ranks}, DType::f64);
  check_optional("step_finalize", "statistics", a.statistics, {a.statistics.numel()}, DType::f64);
  DDP_CHECK(a.scalars != nullptr && a.metrics != nullptr && a.rates != nullptr, "step_finalize without its records");
  submit(exec, "step_finalize", 0, a, {a.partials, a.sums, a.statistics}, {});
}

void adamw_correct(const Exec& exec, const AdamWCorrect& a) {
  check_shape("adamw_correct", "powers", a.powers, {2}, DType::f64);
  DDP_CHECK(a.correction != nullptr && a.scalars != nullptr, "adamw_correct without its records");
  submit(exec, "adamw_correct", 0, a, {a.powers}, {a.powers});
}

void adamw(const Exec& exec, const AdamW& a) {
  check_update("adamw", exec, a);
  for (const TensorView* x : {&a.m, &a.v}) check_shape("adamw", "m, v", *x, a.p.shape);
  DDP_CHECK(a.correction != nullptr, "adamw without its correction");
  submit(exec, "adamw", 0, a, {a.g, a.chunk_begin, a.chunk_decay}, {a.p, a.m, a.v, a.rounded});
}

void sgd(const Exec& exec, const Sgd& a) {
  check_update("sgd", exec, a);
  check_optional("sgd", "m", a.m, a.p.shape, DType::f32);
  DDP_CHECK(bool(a.m) == (a.momentum != 0.0f), "sgd: momentum {} with m {}", a.momentum, a.m.shape.text());
  submit(exec, "sgd", 0, a, {a.g, a.chunk_begin, a.chunk_decay}, {a.p, a.m, a.rounded});
}

void update_state(const Exec& exec, const UpdateState& a) {
  check_shape("update_state", "state", a.state, {a.state.numel()});
  check_shape("update_state", "statistics", a.statistics, {a.state.numel()}, DType::f64);
  DDP_CHECK(a.scalars != nullptr && a.num_micro_batches >= 1, "update_state of {} micro-batches", a.num_micro_batches);
  submit(exec, "update_state", 0, a, {a.statistics}, {a.state});
}

}  // namespace ddp
