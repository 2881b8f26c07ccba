// The state of a step on the device, and what step_finalize does to it, written once for every backend: constexpr, so
// that device code may call it too. Only the root is left to the backend.
#pragma once

#include <cstdint>

#include "runtime/base/loss_sums.h"

namespace ddp {

// What one step hands to the next, whole: to kernels in StepScalars, to the host in StepMetrics, to a resume in the
// manifest.
struct StepState {
  uint32_t attempted_step = 1;  // the step being run: read by dropout
  uint32_t applied_steps = 0;   // updates made so far: picks the learning rate
  float loss_scale = 1.0f;      // of the step being run: read by cross_entropy
  uint32_t growth_count = 0;    // updates since the scale changed or a step was skipped
  uint32_t floor_skips = 0;     // consecutive skips that found the scale at its floor already
  bool operator==(const StepState&) const = default;
};

// What becomes of a step's update.
enum Update : uint32_t {
  kApplied,
  kNotFinite,       // skipped: a gradient, a statistic or the loss is not finite
  kNothingCounted,  // skipped: no target was counted, so there is nothing to learn from
  kVoid,            // skipped: a rank had no batch for it
};

// What kernels of a step read and write on the device instead of host values, so that a step has no data-dependent host
// branch and can be replayed. One per rank, in device memory.
struct StepScalars {
  StepState state;
  // Written by step_finalize for the update that follows:
  float lr = 0.0f;
  float grad_scale = 0.0f;  // clip factor / loss scale
  Update update = kApplied;
  constexpr bool skips() const { return update != kApplied; }
};

// The learning rates that a step may need, from the host: of the update that follows first_applied applied ones, and of
// the one after that. The host is at most one step of unknown outcome behind, so two are enough.
struct LearningRates {
  static constexpr uint32_t kCount = 2;
  uint32_t first_applied = 0;
  float rates[kCount] = {};
  uint32_t padding = 0;  // to 16 bytes: f64 values follow (GradReducer)
  // Of the update after `applied` ones; nullptr where it was not sent.
  constexpr const float* find(uint32_t applied) const {
    const uint32_t i = applied - first_applied;
    return i < kCount ? &rates[i] : nullptr;
  }
  bool operator==(const LearningRates&) const = default;
};

// How the loss scale follows overflows, on the device: a skip multiplies it by `backoff`, not below `floor`; `interval`
// updates in a row multiply it by `growth`, not above `cap`. The default never changes: a static scale.
struct LossScaling {
  float growth = 1.0f, backoff = 1.0f, floor = 1.0f, cap = 1.0f;
  uint32_t interval = UINT32_MAX;
};

// What ranks sum beside the gradients, f64: a head of LossSum and these | from kFirstMark on each rank's mark, set by
// that rank alone: what find_non_finite says of its gradients before the sum | statistics.
enum StepSum : int64_t { kStopVotes = kNumTrainSums, kCheckpointVotes, kVoidVotes, kFirstMark };

// What the host reads of a step, one step late.
struct StepMetrics {
  double loss_sum, counted_targets;  // of the global batch
  double stop_votes;                 // ranks that were asked to stop, and to checkpoint, when they enqueued the step
  double checkpoint_votes;
  double grad_norm;       // of the mean loss's gradients, unscaled; NaN where nothing was counted
  int64_t bad_chunk;      // a chunk with a gradient that is not finite, of bad_rank's or of the sum; -1: none
  int64_t bad_rank;       // the first rank whose own gradients are not finite; -1: none
  int64_t bad_statistic;  // the first statistic that is not finite; -1: none
  float lr;
  float loss_scale;  // of this step
  Update update;
  StepState next;  // of the step that follows
  // Of the step that these are of.
  constexpr uint32_t step() const { return next.attempted_step - 1; }
  constexpr double loss() const { return loss_sum / counted_targets; }  // mean; NaN where nothing was counted
};

// How an element of a model's state follows what a step's micro-batches said of it.
struct StateRule {
  double momentum = 0, num_micro_batches = 1;
  constexpr float moved(float state, double sum) const {
    return float((1.0 - momentum) * double(state) + momentum * (sum / num_micro_batches));
  }
};

struct StepRule {
  double clip_norm = 0;  // 0: none
  // Of a full global batch: the gradients carry 1 / full_targets, a mean's would carry 1 / the targets counted.
  double full_targets = 1;
  LossScaling scaling = {};
};

// What step_finalize looks at, of all ranks.
struct StepEvidence {
  const double* sums = nullptr;  // head | marks
  int64_t num_ranks = 1;
  double root = 0;  // of the sum of squares of the scaled gradients
  int64_t first_bad_chunk = -1, first_bad_statistic = -1;
  // Of the gradients of the mean loss, unscaled. The factor is exactly 1 where every target counts.
  constexpr double factor(const StepRule& rule) const { return rule.full_targets / sums[kCountedTargets]; }
  constexpr double norm(const StepRule& rule, float loss_scale) const {
    return factor(rule) * root / double(loss_scale);
  }
};

// After a step that was skipped or not. No hysteresis: each overflow lowers the scale at once.
constexpr void advance_loss_scale(StepState& s, bool skipped, const LossScaling& scaling) {
  if (skipped) {
    s.growth_count = 0;
    s.floor_skips = s.loss_scale <= scaling.floor ? s.floor_skips + 1 : 0;
    const float lower = s.loss_scale * scaling.backoff;
    s.loss_scale = lower < scaling.floor ? scaling.floor : lower;
    return;
  }
  s.floor_skips = 0;
  if (++s.growth_count < scaling.interval) return;
  s.growth_count = 0;
  const float higher = s.loss_scale * scaling.growth;
  s.loss_scale = higher > scaling.cap ? scaling.cap : higher;
}

constexpr bool is_finite(double x) { return x - x == 0.0; }

// Decides the update that follows, and counts the step. A loss may be infinite though its gradients are finite: where a
// target's logit is -infinity. `lr` is the rate of the next update. A step in which nothing was counted, and one
// that is void, leave all but the number of attempts as it was.
constexpr void decide_update(StepScalars& s, const StepEvidence& step, float lr, const StepRule& rule) {
  ++s.state.attempted_step;
  s.lr = lr;
  if (step.sums[kVoidVotes] > 0.0) {
    s.update = kVoid;
    return;
  }
  if (step.sums[kCountedTargets] == 0.0) {
    s.update = kNothingCounted;
    return;
  }
  const double norm = step.norm(rule, s.state.loss_scale);
  const bool is_sound = is_finite(norm) && is_finite(step.sums[kLossSum]) && step.first_bad_statistic < 0;
  s.update = is_sound ? kApplied : kNotFinite;
  // As torch's clip_grad_norm_: the 1e-6 keeps runs comparable.
  const double clip = rule.clip_norm > 0.0 && norm > rule.clip_norm ? rule.clip_norm / (norm + 1e-6) : 1.0;
  s.grad_scale = float(clip * step.factor(rule) / double(s.state.loss_scale));
  if (is_sound) ++s.state.applied_steps;
  advance_loss_scale(s.state, !is_sound, rule.scaling);
}

// `loss_scale` was the step's, `after` is what decide_update left.
constexpr StepMetrics step_metrics(float loss_scale, const StepScalars& after, const StepEvidence& step,
                                   const StepRule& rule) {
  const double* marks = step.sums + kFirstMark;
  int64_t bad_rank = 0;
  while (bad_rank < step.num_ranks && marks[bad_rank] == 0.0) ++bad_rank;
  const bool is_local = bad_rank < step.num_ranks;
  return {.loss_sum = step.sums[kLossSum],
          .counted_targets = step.sums[kCountedTargets],
          .stop_votes = step.sums[kStopVotes],
          .checkpoint_votes = step.sums[kCheckpointVotes],
          .grad_norm = step.norm(rule, loss_scale),
          .bad_chunk = is_local ? int64_t(marks[bad_rank]) - 1 : step.first_bad_chunk,
          .bad_rank = is_local ? bad_rank : -1,
          .bad_statistic = step.first_bad_statistic,
          .lr = after.lr,
          .loss_scale = loss_scale,
          .update = after.update,
          .next = after.state};
}

}  // namespace ddp
