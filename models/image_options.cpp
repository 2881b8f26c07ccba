#include "models/image_options.h"

#include <fmt/core.h>

#include "runtime/config/mismatch.h"

namespace ddp {

void resolve_image(ImageOptions& image, const GivenKeys& given) {
  if (image.channels == 3) return;
  const std::vector<double> half(size_t(image.channels), 0.5);
  if (!given.contains("model.pixel_mean")) image.pixel_mean = half;
  if (!given.contains("model.pixel_std")) image.pixel_std = half;
}

void check_image(const ImageOptions& image) {
  for (const auto& [key, values] :
       {std::pair("model.pixel_mean", image.pixel_mean), std::pair("model.pixel_std", image.pixel_std)})
    if (int64_t(values.size()) != image.channels)
      throw mismatch(fmt::format("{} has {} numbers and model.channels is {}", key, values.size(), image.channels),
                     fmt::format("give {} a number for each channel", key));
}

}  // namespace ddp
