// Images as they come, and as a model computes with them.
#pragma once

#include <vector>

#include "models/image_options.h"
#include "models/layers/pass.h"

namespace ddp {

// image (H,W,C) u8 and label i32 a sample.
std::vector<Input> image_inputs(const ImageOptions& options);

// Channels that a pixel is padded to with zeros: 16 bytes, as tensor cores load it. With fewer cuDNN's gradient of the
// first weight wants 175 MiB.
int64_t padded_channels(DType storage);

// The image (N,H,W,C) u8 as numbers (N,H,W,padded).
ArenaTensor pixels(const Pass& pass, const ImageOptions& options, const TensorView& image, int64_t padded);

}  // namespace ddp
