// The CPU backend's ops: `run` enqueues one. It is specialised for each op of kernels/ops.h beside the op's kernel; an
// op without a kernel does not link.
#pragma once

#include "runtime/device/device.h"

namespace ddp::cpu {

template <class Args>
void run(Stream& stream, const Args& args);

}  // namespace ddp::cpu
