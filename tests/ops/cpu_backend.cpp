#include "kernels/cpu/gemm.h"
#include "tests/ops/harness.h"

namespace ddp::test {
namespace {
constexpr int kThreads[] = {1, 2, 3, 4, 5};
}

int num_settings() { return int(std::size(kThreads)); }

std::vector<DType> storage_types() { return {DType::f32, DType::f16, DType::bf16}; }

std::unique_ptr<Device> make_test_device(int setting) {
  return make_cpu_device({.num_threads = kThreads[setting], .spin_pauses = 0});
}

const OpTable& test_op_table() { return cpu_op_table(); }

bool rows_are_independent() { return cpu::gemm_rows_are_independent(); }

void lend_to_device(const void*, size_t) {}

}  // namespace ddp::test
