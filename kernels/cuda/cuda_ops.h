// The CUDA backend's entries of the op table, one file a family. Semantics are those of kernels/ops.h; each enqueues
// its kernels on the stream and returns. Nothing is atomic and every sum has a fixed order: equal inputs give equal
// bits.
#pragma once

#include "kernels/ops.h"

namespace ddp::cuda {

// How products of f32 are made: as f32 is, or by tensor cores that round each operand to 10 bits of mantissa.
enum class F32Products : uint8_t { exact, tf32 };
// linear.cpp
template <F32Products>
void linear_forward(Stream&, const LinearForward&);
template <F32Products>
void linear_backward_input(Stream&, const LinearBackwardInput&);
template <F32Products>
void linear_backward_weight(Stream&, const LinearBackwardWeight&);
// layernorm.cu
void layernorm_forward(Stream&, const LayerNormForward&);
void layernorm_backward(Stream&, const LayerNormBackward&);
// gelu.cu
void gelu_forward(Stream&, const GeluForward&);
void gelu_backward(Stream&, const GeluBackward&);
// attention.cu
void attention_forward(Stream&, const AttentionForward&);
void attention_backward(Stream&, const AttentionBackward&);
// embedding.cu
void embedding_forward(Stream&, const EmbeddingForward&);
void embedding_backward(Stream&, const EmbeddingBackward&);
// cross_entropy.cu
void cross_entropy(Stream&, const CrossEntropy&);
// cast.cu
void cast(Stream&, const Cast&);
// reduce.cu
void sum_into(Stream&, const SumInto&);
void add_into(Stream&, const AddInto&);
void sum_squares(Stream&, const SumSquares&);
void find_non_finite(Stream&, const FindNonFinite&);
// optimizer.cu
void step_finalize(Stream&, const StepFinalize&);
void adamw(Stream&, const AdamW&);

}  // namespace ddp::cuda
