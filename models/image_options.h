// What the options of models that classify images have in common. Without any device type: the launcher links it.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "runtime/config/config.h"
#include "runtime/config/fields.h"

namespace ddp {

struct ImageOptions {
  int64_t size = 224, channels = 3, classes = 1000;
  std::vector<double> pixel_mean = {0.485, 0.456, 0.406}, pixel_std = {0.229, 0.224, 0.225};  // of each channel
  double label_smoothing = 0.0;
};

// The keys of `Options::image`, for the section "model".
template <class Options>
inline constexpr Field kImageFields[] = {
    {.key = "image_size",
     .at = option<Options, &Options::image, &ImageOptions::size>,
     .unit = "pixels",
     .range = {1, 4096},
     .meaning = "sides of the square that the model sees"},
    {.key = "channels",
     .at = option<Options, &Options::image, &ImageOptions::channels>,
     .range = {1, 4},
     .meaning = "of a pixel: 3 in colour, 1 in grey"},
    {.key = "classes",
     .at = option<Options, &Options::image, &ImageOptions::classes>,
     .range = {2, 1'000'000},
     .meaning = "what an image may be of"},
    {.key = "pixel_mean",
     .at = option<Options, &Options::image, &ImageOptions::pixel_mean>,
     .range = {0, 1},
     .on_purpose = true,
     .meaning = "of each channel, subtracted from values in [0, 1]; 0.5 each where channels is not 3"},
    {.key = "pixel_std",
     .at = option<Options, &Options::image, &ImageOptions::pixel_std>,
     .range = {.min = 0, .max = 1, .without_min = true},
     .on_purpose = true,
     .meaning = "of each channel, what is left is divided by it; 0.5 each where channels is not 3"},
    {.key = "label_smoothing",
     .at = option<Options, &Options::image, &ImageOptions::label_smoothing>,
     .range = {.min = 0, .max = 1, .without_max = true},
     .on_purpose = true,
     .meaning = "weight that the loss spreads over all classes, in training alone"},
};

// Two tables as one.
template <size_t n, size_t m>
constexpr std::array<Field, n + m> joined(const Field (&first)[n], const Field (&second)[m]) {
  std::array<Field, n + m> all;
  std::copy_n(first, n, all.begin());
  std::copy_n(second, m, all.begin() + n);
  return all;
}

// Means and deviations that were not given, of images that are not in colour.
void resolve_image(ImageOptions& image, const GivenKeys& given);
// A mean and a deviation for each channel. Errors: config (78).
void check_image(const ImageOptions& image);

}  // namespace ddp
