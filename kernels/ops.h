// The operations of a training step. Each is one struct of arguments and one free function: the front door, which
// checks shapes and dtypes once for every backend, tells the observer (dry run, timing) what it costs, and hands over
// to the backend's entry in the op table. Everything runs in order on exec.stream; nothing here waits. Tensors are
// row-major and contiguous, outputs are written ("="), and inputs and outputs do not overlap, unless said otherwise.
//
// Types. Parameters and activations have the storage type S of the run: f32, f16 or bf16, the same for all arguments of
// a call (OpTable::storage). G, the type of a weight gradient, is S or f32; a 16-bit G is "=" only, since sums over
// micro-steps are kept in f32. A convolution's is S and "=" (kernels/ops/convolution.h). A type that is not stated is
// S. Products, sums, statistics and everything inside an op are f32 or wider; each output element is rounded once.
//
// Every sum has an order fixed by the shapes alone, so results do not depend on the number of threads.
//
// Legend: B samples, T positions, C width, H heads, D = C / H, V vocabulary (padded), M = rows (B * T), K in, N out
// features.
#pragma once

#include "kernels/ops/attention.h"
#include "kernels/ops/convolution.h"
#include "kernels/ops/elementwise.h"
#include "kernels/ops/embedding.h"
#include "kernels/ops/image.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/loss.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/step.h"

namespace ddp {

using Ops = JoinOps<LinearOps, ConvolutionOps, NormOps, AttentionOps, ImageOps, EmbeddingOps, ElementwiseOps, LossOps,
                    StepOps>::List;

}  // namespace ddp
