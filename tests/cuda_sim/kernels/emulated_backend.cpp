// The backend of tests/ops under test here: the CUDA kernels on the emulator, each run as it is enqueued. A setting is
// a schedule and a seed.
#include "kernels/cuda/cuda_ops.h"
#include "tests/cuda_sim/emulator/grid.h"
#include "tests/ops/harness.h"

namespace ddp::test {

int num_settings() { return 4; }

std::vector<DType> storage_types() { return {DType::f32, DType::f16, DType::bf16}; }

// Streams of the dry run's device: only their kernels matter.
std::unique_ptr<Device> make_test_device(int setting) {
  if (setting < 2)
    sim::set_schedule(setting == 0 ? sim::Schedule::ascending : sim::Schedule::descending, 0);
  else
    sim::set_schedule(sim::Schedule::random, uint64_t(setting));
  return make_meta_device();
}

const OpTable& test_op_table() {
  static const OpTable table = [] {
    OpTable t = meta_op_table();
    t.layernorm_forward = cuda::layernorm_forward;
    t.layernorm_backward = cuda::layernorm_backward;
    t.gelu_forward = cuda::gelu_forward;
    t.gelu_backward = cuda::gelu_backward;
    t.attention_forward = cuda::attention_forward;
    t.attention_backward = cuda::attention_backward;
    t.embedding_forward = cuda::embedding_forward;
    t.embedding_backward = cuda::embedding_backward;
    t.cross_entropy = cuda::cross_entropy;
    t.sum_into = cuda::sum_into;
    t.add_into = cuda::add_into;
    t.cast = cuda::cast;
    t.sum_squares = cuda::sum_squares;
    t.find_non_finite = cuda::find_non_finite;
    t.step_finalize = cuda::step_finalize;
    t.adamw = cuda::adamw;
    return t;
  }();
  return table;
}

void lend_to_device(const void* memory, size_t bytes) { sim::add_device_memory(memory, bytes); }

}  // namespace ddp::test
