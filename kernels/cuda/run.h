// The CUDA backend's ops: `run` enqueues the kernels of one on the stream and returns. It is specialised for each op of
// kernels/ops.h beside the op's kernels; an op without kernels does not link. Nothing is atomic and every sum has a
// fixed order: equal inputs give equal bits.
#pragma once

#include "kernels/ops/convolution.h"
#include "kernels/ops/linear.h"
#include "runtime/device/device.h"

namespace ddp::cuda {

template <class Args>
void run(Stream& stream, const Args& args);

// What cuBLASLt and cuDNN compute; all else are kernels of ours.
using LibraryOps = JoinOps<LinearOps, ConvolutionOps>::List;

// Of these only: products of f32 by tensor cores that round each operand to 10 bits of mantissa.
template <class Args>
void run_tf32(Stream& stream, const Args& args);

}  // namespace ddp::cuda
