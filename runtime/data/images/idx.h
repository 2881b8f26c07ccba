// MNIST's file format, plain or compressed by gzip, in which Fashion-MNIST comes too: big-endian u32, the magic 0x803
// for (N,H,W) u8 pictures or 0x801 for (N) u8 labels, then the dimensions, then the values.
// Source: http://yann.lecun.com/exdb/mnist.
#pragma once

#include "runtime/data/data_source.h"

namespace ddp {

// `request.path()` names the pictures, "...images-idx3..."; the labels stand beside them as "...labels-idx1...".
// Errors: no_input (66); data (65) for what is no such file, cut off or too long, and for a label that is no class of
// the model; config (78) where the model has other channels.
std::unique_ptr<DataSource> open_idx(const SourceRequest& request);

}  // namespace ddp
