// The loss scale of a configuration. fp16 gradients below 2^-24 are lost, so the loss is scaled up before backward and
// the update scaled down again (Micikevicius et al., 2018); the scale follows overflows on the device (LossScaling).
#pragma once

#include "kernels/step_state.h"
#include "runtime/config/config.h"

namespace ddp {

// fp16 with `loss_scale: dynamic`: doubles after loss_scale_interval updates in a row, up to 2^24; halves at an
// overflow, down to 1. Otherwise static.
LossScaling loss_scaling(const TrainConfig& config);
// Of the first step: 1 unless fp16.
float initial_loss_scale(const TrainConfig& config);

}  // namespace ddp
