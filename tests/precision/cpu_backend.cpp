#include "tests/precision/backend.h"

namespace ddp::test {

std::unique_ptr<Device> make_measured_device() { return make_cpu_device({.num_threads = 2}); }

const OpTable& measured_op_table() { return cpu_op_table(); }

std::vector<DType> measured_types() { return {DType::f16, DType::bf16}; }

int64_t num_curve_steps() { return 50; }

}  // namespace ddp::test
