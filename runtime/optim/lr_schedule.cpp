#include "runtime/optim/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "runtime/base/check.h"

namespace ddp {

double learning_rate(const ScheduleConfig& schedule, double lr, int64_t steps, int64_t t) {
  DDP_CHECK(t >= 1 && t <= steps, "step {} of {}", t, steps);
  if (t <= schedule.warmup_steps) return lr * double(t) / double(schedule.warmup_steps);
  // 0 at the end of the warm-up, 1 at the last step.
  const double progress =
      double(t - schedule.warmup_steps) / double(std::max<int64_t>(steps - schedule.warmup_steps, 1));
  const auto between = [&](double high) { return schedule.min_lr + (lr - schedule.min_lr) * high; };
  switch (schedule.name) {
    case ScheduleName::cosine:
      return between(0.5 * (1.0 + std::cos(std::numbers::pi * progress)));
    case ScheduleName::linear:
      return between(1.0 - progress);
    case ScheduleName::polynomial:
      return between(std::pow(1.0 - progress, schedule.power));
    case ScheduleName::step: {  // as torch's StepLR: step_size steps with each rate
      const int64_t drops = (t - 1 - schedule.warmup_steps) / schedule.step_size;
      return std::max(schedule.min_lr, lr * std::pow(schedule.gamma, double(drops)));
    }
    case ScheduleName::constant:
      return lr;
  }
  DDP_CHECK(false, "schedule {}", int(schedule.name));
  return 0.0;
}

LearningRates next_learning_rates(const ScheduleConfig& schedule, double lr, int64_t steps, uint32_t applied) {
  LearningRates next{.first_applied = applied};
  int64_t t = applied;
  for (float& rate : next.rates) rate = float(learning_rate(schedule, lr, steps, std::min(++t, steps)));
  return next;
}

}  // namespace ddp
