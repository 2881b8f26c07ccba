// A model's running statistics: few elements, once a step.
#include "kernels/cuda/warp.cuh"

#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/run.h"
#include "kernels/ops/step.h"

namespace ddp::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    update(float* state, const double* statistics, int64_t n, const StepScalars* scalars, StateRule rule) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= n || scalars->skips()) return;
  state[i] = rule.moved(state[i], statistics[i]);
}

}  // namespace

template <>
void run(Stream& stream, const UpdateState& a) {
  const int64_t n = a.state.numel();
  launch(stream, {"update_state", blocks(ceil_div(n, kThreads)), kThreads}, update, a.state.as<float>(),
         a.statistics.as<double>(), n, a.scalars, StateRule{a.momentum, double(a.num_micro_batches)});
}

}  // namespace ddp::cuda
