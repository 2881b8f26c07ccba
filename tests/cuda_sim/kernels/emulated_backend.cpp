// The backend of tests/ops under test here: the CUDA kernels on the emulator, each run as it is enqueued. A setting is
// a schedule and a seed.
#include "kernels/cuda/run.h"
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
    Ops::for_each([&]<class Args>() {
      if constexpr (!cuda::LibraryOps::has<Args>) t.entry<Args>() = cuda::run<Args>;
    });
    return t;
  }();
  return table;
}

bool rows_are_independent() { return true; }

void lend_to_device(const void* memory, size_t bytes) { sim::add_device_memory(memory, bytes); }

}  // namespace ddp::test
