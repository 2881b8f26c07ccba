#include "models/resnet/options/options.h"

#include "runtime/config/fields.h"

namespace ddp::resnet {
namespace {

template <auto... path>
constexpr Access leaf = option<Options, path...>;

constexpr Field kModel[] = {
    {.key = "preset",
     .at = leaf<&Options::preset>,
     .resume_may_change = true,
     .meaning = "sets block and blocks; one given beside it wins"},
    {.key = "block",
     .at = leaf<&Options::block>,
     .meaning = "basic: two 3x3 convolutions; bottleneck: 1x1, 3x3, 1x1 with four times the channels at the end"},
    {.key = "blocks",
     .at = leaf<&Options::blocks>,
     .unit = "blocks",
     .range = {1, 200},
     .meaning =
         "blocks of each stage; from the second stage on each halves the image's sides and doubles the channels"},
    {.key = "width",
     .at = leaf<&Options::width>,
     .unit = "channels",
     .range = {1, 4096},
     .meaning = "channels of the stem and within the blocks of the first stage"},
    {.key = "stem",
     .at = leaf<&Options::stem>,
     .meaning = "imagenet: 7x7 with stride 2, then max pooling; small: 3x3, for images of some 32 pixels"},
};
constexpr auto kAllOfModel = joined(kModel, kImageFields<Options>);

constexpr Field kTrain[] = {
    {.key = "recompute",
     .at = leaf<&Options::recompute>,
     .resume_may_change = true,
     .meaning =
         "what backward computes again instead of keeping it: relu, inner ReLU outputs, costs a pass over memory for "
         "each; block one more forward. The same bits in all"},
};

constexpr std::string_view kPresetKeys[] = {"block", "blocks"};

constexpr Section kSections[] = {{"model", kAllOfModel}, {"train", kTrain}};

void set_preset(Options& o, const GivenKeys& given) {
  struct Sizes {
    BlockKind block;
    std::vector<int64_t> blocks;
  };
  const auto sizes = [&]() -> Sizes {
    switch (o.preset) {
      case Preset::r18:
        return {BlockKind::basic, {2, 2, 2, 2}};
      case Preset::r34:
        return {BlockKind::basic, {3, 4, 6, 3}};
      case Preset::r50:
        return {BlockKind::bottleneck, {3, 4, 6, 3}};
      case Preset::r101:
        return {BlockKind::bottleneck, {3, 4, 23, 3}};
      case Preset::r152:
        return {BlockKind::bottleneck, {3, 8, 36, 3}};
      case Preset::none:
        break;
    }
    return {o.block, o.blocks};
  }();
  if (!given.contains("model.block")) o.block = sizes.block;
  if (!given.contains("model.blocks")) o.blocks = sizes.blocks;
}

// What the fp32 convolutions of ResNet-50 have deterministic and fast plans for; those of 16 bits need 21.5 MiB.
constexpr int64_t kWideWorkspaceMb = 256;

void resolve(Config& config, const GivenKeys& given) {
  Options& o = options_of<Options>(config);
  set_preset(o, given);
  const PrecisionName precision = config.train.precision;
  const bool is_wide = precision == PrecisionName::fp32 || precision == PrecisionName::tf32;
  if (is_wide && !given.contains("train.workspace_mb")) config.train.workspace_mb = kWideWorkspaceMb;
  resolve_image(o.image, given);
}

// Positions of the last stage, along one side.
int64_t last_side(const Options& o) {
  const auto halved = [](int64_t n) { return (n + 1) / 2; };
  int64_t side = o.image.size;
  if (o.stem == Stem::imagenet) side = halved(halved(side));
  for (size_t stage = 1; stage < o.blocks.size(); ++stage) side = halved(side);
  return side;
}

void check(const Config& config) { check_image(options_of<Options>(config).image); }

}  // namespace

constinit const ModelKind kKind = {
    .name = "resnet",
    .sections = kSections,
    .initial_options = [] { return std::any(Options{}); },
    .resolve = resolve,
    .preset_keys = kPresetKeys,
    .check = check,
    .normalises_batches = true,
    // The last stage may have one position left.
    .least_micro_batch = [](const Config& config) -> int64_t {
      return last_side(options_of<Options>(config)) == 1 ? 2 : 1;
    },
    .convolves = true,
    .counts_accuracy = true,
};

}  // namespace ddp::resnet
