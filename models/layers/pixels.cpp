#include "models/layers/pixels.h"

#include <algorithm>

namespace ddp {

std::vector<Input> image_inputs(const ImageOptions& options) {
  return {{.name = "image", .dtype = DType::u8, .sample = {options.size, options.size, options.channels}},
          {.name = "label", .sample = {}, .limit = options.classes, .is_target = true}};
}

int64_t padded_channels(DType storage) {
  constexpr size_t kPixelBytes = 16;
  return int64_t(kPixelBytes / dtype_bytes(storage));
}

ArenaTensor pixels(const Pass& pass, const ImageOptions& options, const TensorView& image, int64_t padded) {
  NormaliseImages args;
  ArenaTensor y = pass.take({image.dim(0), image.dim(1), image.dim(2), padded}, "pixels");
  args.y = y, args.x = image;
  std::copy(options.pixel_mean.begin(), options.pixel_mean.end(), args.mean.begin());
  std::copy(options.pixel_std.begin(), options.pixel_std.end(), args.deviation.begin());
  normalise_images(pass.exec, args);
  return y;
}

}  // namespace ddp
