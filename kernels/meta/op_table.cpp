// The dry run's table: every entry does nothing; the front doors have checked and counted already.
#include "kernels/op_table.h"

namespace ddp {

const OpTable& meta_op_table() {
  static constexpr OpTable kTable = [] {
    OpTable table;
    table.storage = {DType::f32, DType::f16, DType::bf16};
    Ops::for_each([&]<class Args>() { table.entry<Args>() = [](Stream&, const Args&) {}; });
    return table;
  }();
  return kTable;
}

}  // namespace ddp
