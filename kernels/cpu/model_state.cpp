// A model's running statistics: few elements, once a step.
#include "kernels/cpu/run.h"
#include "kernels/ops/step.h"
#include "runtime/device/cpu_device.h"

namespace ddp::cpu {

template <>
void run(Stream& stream, const UpdateState& a) {
  cpu_enqueue(stream, [a](ThreadPool&) {
    if (a.scalars->skips()) return;
    const StateRule rule{a.momentum, double(a.num_micro_batches)};
    float* state = a.state.as<float>();
    const double* statistics = a.statistics.as<double>();
    for (int64_t i = 0; i < a.state.numel(); ++i) state[i] = rule.moved(state[i], statistics[i]);
  });
}

}  // namespace ddp::cpu
