#include "models/vit/options/options.h"

#include <fmt/core.h>

#include "runtime/config/fields.h"
#include "runtime/config/mismatch.h"

namespace ddp::vit {
namespace {

template <auto... path>
constexpr Access leaf = option<Options, path...>;

constexpr Field kModel[] = {
    {.key = "preset",
     .at = leaf<&Options::preset>,
     .resume_may_change = true,
     .meaning = "sets heads and width of 12 layers; one given beside it wins"},
    kLayersKey<Options>,
    kHeadsKey<Options>,
    kWidthKey<Options>,
    {.key = "patch",
     .at = leaf<&Options::patch>,
     .unit = "pixels",
     .range = {1, 4096},
     .meaning = "sides of the squares that an image is cut into; must divide image_size"},
    kActivationKey<Options>,
    kNormEpsKey<Options>,
    kDropoutKey<Options>,
};
constexpr auto kAllOfModel = joined(kModel, kImageFields<Options>);

constexpr Field kTrain[] = {
    kTransformerRecomputeKey<Options>,
};

constexpr std::string_view kPresetKeys[] = {"heads", "width"};

constexpr Section kSections[] = {{"model", kAllOfModel}, {"train", kTrain}};

// Dosovitskiy et al. 2021 and Touvron et al. 2021.
void resolve(Config& config, const GivenKeys& given) {
  Options& o = options_of<Options>(config);
  resolve_image(o.image, given);
  const auto set = [&](int64_t heads, int64_t width) {
    if (!given.contains("model.heads")) o.heads = heads;
    if (!given.contains("model.width")) o.width = width;
  };
  switch (o.preset) {
    case Preset::tiny:
      return set(3, 192);
    case Preset::small:
      return set(6, 384);
    case Preset::base:
      return set(12, 768);
    case Preset::none:
      return;
  }
}

void check(const Config& config) {
  const Options& o = options_of<Options>(config);
  check_image(o.image);
  check_whole_heads(o.width, o.heads);
  if (o.image.size % o.patch != 0)
    throw mismatch(fmt::format("model.image_size {} is not a multiple of model.patch {}", o.image.size, o.patch),
                   fmt::format("patches that work: {}; sizes that work: {}", divisors_near(o.image.size, o.patch),
                               multiples_near(o.patch, o.image.size)));
}

}  // namespace

constinit const ModelKind kKind = {
    .name = "vit",
    .sections = kSections,
    .initial_options = [] { return std::any(Options{}); },
    .resolve = resolve,
    .preset_keys = kPresetKeys,
    .check = check,
    .convolves = true,
    .counts_accuracy = true,
};

}  // namespace ddp::vit
