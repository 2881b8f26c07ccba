#include <dlfcn.h>

#include <cstdlib>

#include "runtime/device/cuda_device.h"
#include "tests/precision/backend.h"

namespace ddp::test {

// cuDNN is in this program.
std::unique_ptr<Device> make_measured_device() { return make_cuda_device({.cudnn = ::dlopen(nullptr, RTLD_NOW)}); }

const OpTable& measured_op_table() { return cuda_op_table(/*tf32=*/false); }

std::vector<DType> measured_types() { return {DType::f16, DType::bf16}; }

// 50 take a minute.
int64_t num_curve_steps() { return std::getenv("DDP_SIM_CAMPAIGN") != nullptr ? 50 : 10; }

}  // namespace ddp::test
