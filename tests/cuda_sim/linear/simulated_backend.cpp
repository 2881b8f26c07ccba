// The backend of tests/ops under test here: the CUDA device and table on the simulated libraries. Only for linear
// layers: they are host code and take the tests' memory of the host.
#include "runtime/device/cuda_device.h"
#include "tests/ops/harness.h"

namespace ddp::test {

int num_settings() { return 2; }  // a run and its repetition

std::vector<DType> storage_types() { return {DType::f32, DType::f16, DType::bf16}; }

// One for each of hundreds of runs, and simulated memory is not used again.
std::unique_ptr<Device> make_test_device(int) { return make_cuda_device({.workspace_bytes = 1 << 20}); }

const OpTable& test_op_table() { return cuda_op_table(/*tf32=*/false); }

bool rows_are_independent() { return true; }

void lend_to_device(const void*, size_t) {}

}  // namespace ddp::test
