// The state of a step on the device, and what step_finalize does to it, written once for every backend: constexpr, so
// that device code may call it too. Only the root is left to the backend.
#pragma once

#include <cstdint>

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

// What kernels of a step read and write on the device instead of host values, so that a step has no data-dependent host
// branch and can be replayed. One per rank, in device memory.
struct StepScalars {
  StepState state;
  // Written by step_finalize for the update that follows:
  float lr = 0.0f;
  float grad_scale = 0.0f;  // clip factor / loss scale
  uint32_t skip = 0;        // 1: a gradient or the loss is not finite, this update is skipped
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

// What ranks sum beside the gradients, by place in f64 (kFirstMark + ranks). From kFirstMark on each rank's mark, set
// by that rank alone: what find_non_finite says of its gradients before the sum.
enum LossVote : int64_t { kLossSum, kStopVotes, kCheckpointVotes, kFirstMark };

// What the host reads of a step, one step late.
struct StepMetrics {
  double loss_sum;    // over the global batch's tokens
  double stop_votes;  // ranks that were asked to stop, and to checkpoint, when they enqueued the step
  double checkpoint_votes;
  double grad_norm;   // of the unscaled gradients
  int64_t bad_chunk;  // a chunk with a gradient that is not finite, of bad_rank's or of the sum; -1: none, so that a
                      // step is skipped for its loss alone
  int64_t bad_rank;   // the first rank whose own gradients are not finite; -1: none
  float lr;
  float loss_scale;  // of this step
  uint32_t skipped;
  StepState next;  // of the step that follows
  // Of the step that these are of.
  constexpr uint32_t step() const { return next.attempted_step - 1; }
};

struct StepRule {
  double clip_norm = 0;
  LossScaling scaling = {};
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

// Decides the update that follows from the loss and the root of the sum of squares of the scaled gradients, and counts.
// A loss may be infinite though its gradients are finite: where a target's logit is -infinity. `lr` is the rate of the
// next update.
constexpr void decide_update(StepScalars& s, double loss_sum, double root, float lr, const StepRule& rule) {
  const double loss_scale = double(s.state.loss_scale), norm = root / loss_scale;
  s.skip = is_finite(norm) && is_finite(loss_sum) ? 0 : 1;
  // As torch's clip_grad_norm_: the 1e-6 keeps runs comparable.
  const double clip = rule.clip_norm > 0.0 && norm > rule.clip_norm ? rule.clip_norm / (norm + 1e-6) : 1.0;
  s.grad_scale = float(clip / loss_scale);
  s.lr = lr;
  if (s.skip == 0) ++s.state.applied_steps;
  advance_loss_scale(s.state, s.skip != 0, rule.scaling);
  ++s.state.attempted_step;
}

// `loss_scale` was the step's, `after` is what decide_update left; first_bad_chunk is of the sum over ranks.
constexpr StepMetrics step_metrics(float loss_scale, const StepScalars& after, double root, int64_t first_bad_chunk,
                                   const double* loss_votes, int64_t num_ranks) {
  const double* marks = loss_votes + kFirstMark;
  int64_t bad_rank = 0;
  while (bad_rank < num_ranks && marks[bad_rank] == 0.0) ++bad_rank;
  const bool is_local = bad_rank < num_ranks;
  return {.loss_sum = loss_votes[kLossSum],
          .stop_votes = loss_votes[kStopVotes],
          .checkpoint_votes = loss_votes[kCheckpointVotes],
          .grad_norm = root / double(loss_scale),
          .bad_chunk = is_local ? int64_t(marks[bad_rank]) - 1 : first_bad_chunk,
          .bad_rank = is_local ? bad_rank : -1,
          .lr = after.lr,
          .loss_scale = loss_scale,
          .skipped = after.skip,
          .next = after.state};
}

}  // namespace ddp
