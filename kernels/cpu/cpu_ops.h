// The CPU backend's entries of the op table, one file a family. Semantics are those of kernels/ops.h.
#pragma once

#include "kernels/ops.h"

namespace ddp::cpu {

// linear.cpp
void linear_forward(Stream&, const LinearForward&);
void linear_backward_input(Stream&, const LinearBackwardInput&);
void linear_backward_weight(Stream&, const LinearBackwardWeight&);
// layernorm.cpp
void layernorm_forward(Stream&, const LayerNormForward&);
void layernorm_backward(Stream&, const LayerNormBackward&);
// gelu.cpp
void gelu_forward(Stream&, const GeluForward&);
void gelu_backward(Stream&, const GeluBackward&);
// attention.cpp
void attention_forward(Stream&, const AttentionForward&);
void attention_backward(Stream&, const AttentionBackward&);
// embedding.cpp
void embedding_forward(Stream&, const EmbeddingForward&);
void embedding_backward(Stream&, const EmbeddingBackward&);
// cross_entropy.cpp
void cross_entropy(Stream&, const CrossEntropy&);
// convert.cpp
void cast(Stream&, const Cast&);
// reduce.cpp
void sum_into(Stream&, const SumInto&);
void add_into(Stream&, const AddInto&);
void sum_squares(Stream&, const SumSquares&);
// optimizer.cpp
void find_non_finite(Stream&, const FindNonFinite&);
void step_finalize(Stream&, const StepFinalize&);
void adamw(Stream&, const AdamW&);

}  // namespace ddp::cpu
