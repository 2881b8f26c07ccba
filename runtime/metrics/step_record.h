// What is known of a step and of an evaluation once they are done: the one form in which the trainer hands them to
// every sink.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/state/work_unit.h"

namespace ddp {

// A step whose update was skipped, since a gradient, a statistic of the model's state or the loss was not finite.
struct SkippedUpdate {
  // The first parameter whose gradient is not finite; else the first tensor of the state of which a statistic is not;
  // else "loss".
  std::string tensor;
  int rank = -1;               // of the gradient; -1: only the sum over ranks is known not to be finite
  double next_loss_scale = 0;  // of the step that follows
};

struct StepRecord {
  int64_t step = 0, total_steps = 0;  // steps count from 1
  double loss = 0;                    // mean over the targets counted in the global batch, before the update
  double lr = 0, grad_norm = 0;
  int64_t applied_steps = 0;  // updates so far; `step` counts attempts
  double loss_scale = 1;
  std::optional<SkippedUpdate> skipped;
  bool nothing_counted = false;  // no target of the global batch was counted: no loss, and no update
  double work = 0;               // of the global batch, counted in the unit
  WorkUnit unit;
  // The step's wall time, and its parts: waiting for data, communication that nothing hid; the rest is computing.
  double step_ms = 0, data_wait_ms = 0, exposed_comm_ms = 0;  // the last NaN where it is not measured
  int64_t samples_seen = 0;                                   // since the run's first step, this one included
  int64_t memory_bytes = 0;                                   // device memory in use on this rank
  int64_t time_ms = 0;                                        // when this was known: time_of_day_ms()

  double compute_ms() const { return step_ms - data_wait_ms - exposed_comm_ms; }
  double work_per_s() const { return work / step_ms * 1e3; }
};

// What determines the result of a run, and that it goes on with as another value.
struct ChangeRecord {
  int64_t step = 0;  // the first one with the new value
  std::string key, before, after;
};

struct EvalRecord {
  int64_t step = 0;
  int64_t samples = 0;       // that were evaluated
  double loss = 0;           // mean over the targets that were counted; NaN where there were none
  double bits_per_byte = 0;  // NaN where the data's bytes are not known (token files without meta.json)
  // What else the model's evaluation counts, as a share of its targets: "top1", "top5".
  std::vector<std::pair<std::string_view, double>> shares = {};
  bool is_best = false;  // so far, where the run looks for its best (checkpoint.best)
  int64_t time_ms = 0;   // when this was known: time_of_day_ms()
};

}  // namespace ddp
