// The learning rate as a pure function of the step.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/config/config.h"

namespace ddp {

// Of step t = 1..steps: lr t / warmup_steps while t <= warmup_steps, then the schedule (cosine, linear, constant) down
// to min_lr at t = steps.
double learning_rate(const ScheduleConfig& schedule, double lr, int64_t steps, int64_t t);

// Entry i is the rate of the update that follows i applied ones, so of step i + 1; `steps` entries.
std::vector<float> learning_rate_table(const ScheduleConfig& schedule, double lr, int64_t steps);

}  // namespace ddp
