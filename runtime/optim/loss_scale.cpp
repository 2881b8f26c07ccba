#include "runtime/optim/loss_scale.h"

namespace ddp {
namespace {

constexpr float kGrowth = 2.0f, kBackoff = 0.5f, kFloor = 1.0f, kCap = 0x1p24f;

bool is_dynamic(const TrainConfig& config) { return config.precision == PrecisionName::fp16 && !config.loss_scale; }

}  // namespace

LossScaling loss_scaling(const TrainConfig& config) {
  if (is_dynamic(config))
    return {.growth = kGrowth,
            .backoff = kBackoff,
            .floor = kFloor,
            .cap = kCap,
            .interval = uint32_t(config.loss_scale_interval)};
  LossScaling fixed;
  fixed.floor = fixed.cap = initial_loss_scale(config);
  return fixed;
}

float initial_loss_scale(const TrainConfig& config) {
  if (config.precision != PrecisionName::fp16) return 1.0f;
  return float(config.loss_scale.value_or(config.loss_scale_init));
}

}  // namespace ddp
