#include "kernels/op_table.h"

#include "kernels/cuda/run.h"

namespace ddp {
namespace {

constexpr OpTable exact_table() {
  OpTable table;
  table.storage = {DType::f32, DType::f16, DType::bf16};
  Ops::for_each([&]<class Args>() { table.entry<Args>() = cuda::run<Args>; });
  return table;
}

constexpr OpTable tf32_table() {
  OpTable table = exact_table();
  cuda::LibraryOps::for_each([&]<class Args>() { table.entry<Args>() = cuda::run_tf32<Args>; });
  return table;
}

}  // namespace

const OpTable& cuda_op_table(bool tf32) {
  static constexpr OpTable kExact = exact_table(), kTf32 = tf32_table();
  return tf32 ? kTf32 : kExact;
}

}  // namespace ddp
