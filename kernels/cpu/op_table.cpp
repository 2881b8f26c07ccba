#include "kernels/op_table.h"

#include "kernels/cpu/run.h"

namespace ddp {

const OpTable& cpu_op_table() {
  static constexpr OpTable kTable = [] {
    OpTable table;
    table.storage = {DType::f32, DType::f16, DType::bf16};
    Ops::for_each([&]<class Args>() { table.entry<Args>() = cpu::run<Args>; });
    return table;
  }();
  return kTable;
}

}  // namespace ddp
