#include "kernels/op_table.h"

namespace ddp {

const OpTable& op_table(DeviceKind kind) {
  DDP_CHECK(kind == DeviceKind::cpu || kind == DeviceKind::meta, "this build has no op table of device kind {}",
            int(kind));
  return kind == DeviceKind::cpu ? cpu_op_table() : meta_op_table();
}

}  // namespace ddp
