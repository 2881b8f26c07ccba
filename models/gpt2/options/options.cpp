#include "models/gpt2/options/options.h"

#include <fmt/core.h>

#include "models/gpt2/options/config_json.h"
#include "runtime/config/fields.h"
#include "runtime/config/mismatch.h"

namespace ddp::gpt2 {
namespace {

template <auto... path>
constexpr Access leaf = option<Options, path...>;

constexpr Field kModel[] = {
    {.key = "preset",
     .at = leaf<&Options::preset>,
     .resume_may_change = true,
     .meaning = "sets layers, heads, width, context and vocab; a size given beside it wins"},
    kLayersKey<Options>,
    kHeadsKey<Options>,
    kWidthKey<Options>,
    kMlpWidthKey<Options>,
    {.key = "context",
     .at = leaf<&Options::context>,
     .unit = "tokens",
     .range = {1, 1048576},
     .meaning = "tokens of a sample: positions the model sees at once"},
    {.key = "vocab",
     .at = leaf<&Options::vocab>,
     .unit = "tokens",
     .range = {2, 10'000'000},
     .meaning =
         "size of the vocabulary, never smaller than the data's; 256 with data.format bytes unless vocab or preset "
         "is given"},
    kActivationKey<Options>,
    kNormEpsKey<Options>,
    kDropoutKey<Options>,
    {.key = "tie_embeddings",
     .at = leaf<&Options::tie_embeddings>,
     .meaning = "the classifier shares the token embedding's weights"},
};

constexpr Field kTrain[] = {
    kTransformerRecomputeKey<Options>,
};

constexpr std::string_view kPresetKeys[] = {"layers", "heads", "width", "mlp_width", "context", "vocab"};

constexpr Section kSections[] = {{"model", kModel}, {"train", kTrain}};

struct Sizes {
  int64_t layers, heads, width;
};

// Radford et al. 2019, table 2, with heads of 64 channels.
Sizes published_sizes(Preset preset) {
  switch (preset) {
    case Preset::small:
      return {12, 12, 768};
    case Preset::medium:
      return {24, 16, 1024};
    case Preset::large:
      return {36, 20, 1280};
    case Preset::xl:
      return {48, 25, 1600};
    case Preset::none:
      break;
  }
  DDP_CHECK(false, "preset {}", int(preset));
  return {};
}
constexpr int64_t kPublishedContext = 1024, kPublishedVocab = 50257;

void resolve(Config& config, const GivenKeys& given) {
  Options& o = options_of<Options>(config);
  const auto set_default = [&](std::string_view key, int64_t& target, int64_t value) {
    if (!given.contains(key)) target = value;
  };
  if (o.preset != Preset::none) {
    const Sizes sizes = published_sizes(o.preset);
    set_default("model.layers", o.layers, sizes.layers);
    set_default("model.heads", o.heads, sizes.heads);
    set_default("model.width", o.width, sizes.width);
    set_default("model.context", o.context, kPublishedContext);
    set_default("model.vocab", o.vocab, kPublishedVocab);
  } else if (const int64_t vocab = data_format(config).vocab; vocab > 0) {
    set_default("model.vocab", o.vocab, vocab);
  }
  o.mlp_width = mlp_width_of(o);
}

void check(const Config& config) {
  const Options& o = options_of<Options>(config);
  check_whole_heads(o.width, o.heads);
  const DataFormat& format = data_format(config);
  if (o.vocab < format.vocab)
    throw mismatch(fmt::format("model.vocab {} is smaller than the {} tokens of data.format {}", o.vocab, format.vocab,
                               format.name),
                   fmt::format("set model.vocab to {} or more", format.vocab));
}

}  // namespace

SavedNames saved_names(const Options& options) {
  SavedNames names{
      .prefixes = {"transformer."},
      .first_rows = {{.saved = "wpe.weight", .key = "model.context"}},
      .buffers = {{".attn.bias", {1, 1, -1, -1}}, {".attn.masked_bias"}},
  };
  if (options.tie_embeddings) {
    names.copies.push_back({.theirs = "lm_head.weight",
                            .saved = "wte.weight",
                            .hint = "set model.tie_embeddings: false for a classifier of its own"});
  } else {  // transformers 4 calls a file damaged where lm_head stands beside bare names
    names.model_prefix = "transformer.";
    names.without_prefix = "lm_head.weight";
  }
  return names;
}

constinit const ModelKind kKind = {
    .name = "gpt2",
    .sections = kSections,
    .initial_options = [] { return std::any(Options{}); },
    .resolve = resolve,
    .preset_keys = kPresetKeys,
    .check = check,
    .export_files = export_files,
    .import_json = import_json,
};

}  // namespace ddp::gpt2
