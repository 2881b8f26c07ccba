// The learning rate as a pure function of the step.
#pragma once

#include <cstdint>

#include "kernels/step_state.h"
#include "runtime/config/config.h"

namespace ddp {

// Of step t = 1..steps: lr t / warmup_steps while t <= warmup_steps, then the schedule: cosine, linear and
// polynomial go down to min_lr at t = steps; step multiplies by gamma every step_size steps, not below min_lr.
double learning_rate(const ScheduleConfig& schedule, double lr, int64_t steps, int64_t t);

// What a step needs that is enqueued when `applied` updates are known of: one more may have been made. The update after
// i applied ones has the rate of step i + 1; past the last step, its.
LearningRates next_learning_rates(const ScheduleConfig& schedule, double lr, int64_t steps, uint32_t applied);

}  // namespace ddp
