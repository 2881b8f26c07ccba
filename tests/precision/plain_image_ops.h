// The plain forms (plain_op_table.h) of the ops of images: convolutions, batch norm, pooling.
#pragma once

#include "kernels/ops.h"

namespace ddp::test::plain {

void run(const ConvolutionForward& a);
void run(const ConvolutionBackwardInput& a);
void run(const ConvolutionBackwardWeight& a);
void run(const BatchNormStatistics& a);
void run(const BatchNormApply& a);
void run(const BatchNormBackward& a);
void run(const BatchNormPool& a);
void run(const BatchNormPoolBackward& a);
void run(const NormaliseImages& a);
void run(const SubsampleForward& a);
void run(const SubsampleBackward& a);
void run(const AveragePoolForward& a);
void run(const AveragePoolBackward& a);

}  // namespace ddp::test::plain
