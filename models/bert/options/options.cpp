#include "models/bert/options/options.h"

#include <fmt/core.h>

#include <algorithm>

#include "models/bert/options/config_json.h"
#include "runtime/config/fields.h"
#include "runtime/config/mismatch.h"

namespace ddp::bert {
namespace {

template <auto... path>
constexpr Access leaf = option<Options, path...>;

constexpr Field kModel[] = {
    {.key = "task",
     .at = leaf<&Options::task>,
     .meaning = "what is learnt: mlm, the masked tokens of a token file; classify, the class of a labelled text"},
    {.key = "preset",
     .at = leaf<&Options::preset>,
     .resume_may_change = true,
     .meaning = "sets layers, heads and width; a size given beside it wins"},
    kLayersKey<Options>,
    kHeadsKey<Options>,
    kWidthKey<Options>,
    kMlpWidthKey<Options>,
    {.key = "context",
     .at = leaf<&Options::context>,
     .unit = "tokens",
     .range = {1, 65536},
     .on_purpose = true,
     .meaning = "tokens of a sample, with [CLS] and [SEP]"},
    {.key = "positions",
     .at = leaf<&Options::positions>,
     .unit = "tokens",
     .range = {1, 65536},
     .meaning = "rows of the position embedding, so the longest context that the weights will do for; 512, or context "
                "where that is more, unless given"},
    {.key = "vocab",
     .at = leaf<&Options::vocab>,
     .unit = "tokens",
     .range = {2, 10'000'000},
     .meaning = "size of the vocabulary, never smaller than the data's"},
    {.key = "predictions",
     .at = leaf<&Options::predictions>,
     .unit = "tokens",
     .range = {1, 65536},
     .on_purpose = true,
     .meaning =
         "mlm: places of a sample for masked tokens, of which 15% of the context are taken; near that, 20 at 128 "
         "and 76 at 512, unless given"},
    {.key = "classes",
     .at = leaf<&Options::classes>,
     .range = {2, 1'000'000},
     .meaning = "classify: what a text may be of"},
    kActivationKey<Options>,
    kNormEpsKey<Options>,
    kDropoutKey<Options>,
};

constexpr Field kTrain[] = {
    kTransformerRecomputeKey<Options>,
};

constexpr std::string_view kPresetKeys[] = {"layers", "heads", "width", "mlp_width"};

constexpr Section kSections[] = {{"model", kModel}, {"train", kTrain}};

struct Sizes {
  int64_t layers, heads, width;
};

// Devlin et al. 2018 and Turc et al. 2019, with heads of 64 channels; MiniLM (Wang et al., 2020) with heads of 32.
Sizes published_sizes(Preset preset) {
  switch (preset) {
    case Preset::tiny:
      return {2, 2, 128};
    case Preset::mini:
      return {4, 4, 256};
    case Preset::small:
      return {4, 8, 512};
    case Preset::medium:
      return {8, 8, 512};
    case Preset::base:
      return {12, 12, 768};
    case Preset::large:
      return {24, 16, 1024};
    case Preset::minilm:
      return {6, 12, 384};
    case Preset::none:
      break;
  }
  DDP_CHECK(false, "preset {}", int(preset));
  return {};
}

// The multiple of 4 that is nearest to 15% of the context: 20 at 128, as BERT has, and 76 at 512.
int64_t usual_predictions(int64_t context) { return std::max<int64_t>(1, (context * 15 + 200) / 400 * 4); }

void resolve(Config& config, const GivenKeys& given) {
  Options& o = options_of<Options>(config);
  const auto set_default = [&](std::string_view key, int64_t& target, int64_t value) {
    if (!given.contains(key)) target = value;
  };
  set_default("model.positions", o.positions, std::max(o.positions, o.context));
  set_default("model.predictions", o.predictions, usual_predictions(o.context));
  if (o.preset != Preset::none) {
    const Sizes sizes = published_sizes(o.preset);
    set_default("model.layers", o.layers, sizes.layers);
    set_default("model.heads", o.heads, sizes.heads);
    set_default("model.width", o.width, sizes.width);
  }
  o.mlp_width = mlp_width_of(o);
}

void check(const Config& config) {
  const Options& o = options_of<Options>(config);
  check_whole_heads(o.width, o.heads);
  if (o.context > o.positions)
    throw mismatch(fmt::format("model.context {} is more than model.positions {}", o.context, o.positions),
                   fmt::format("set model.positions to {} or more, or leave it out", o.context));
  const bool is_labelled = config.data.format == "labelled";
  if (o.task == Task::mlm && is_labelled)
    throw mismatch("model.task mlm learns of token files, and data.format is labelled", "set model.task to classify");
  if (o.task == Task::classify && config.data.format == "tokens")
    throw mismatch("model.task classify learns of labelled texts, and data.format is tokens",
                   "set model.task to mlm, or data.format to labelled");
  if (o.task != Task::mlm) return;
  if (o.context < 3)
    throw mismatch(fmt::format("model.context {} has no room between [CLS] and [SEP]", o.context),
                   "set model.context to 3 or more");
  if (o.predictions > o.context - 2)
    throw mismatch(fmt::format("model.predictions {} are more than the {} tokens between [CLS] and [SEP]",
                               o.predictions, o.context - 2),
                   fmt::format("set model.predictions to {} or less, or leave it out", o.context - 2));
}

}  // namespace

SavedNames saved_names(const Options& options) {
  const bool is_masked = options.task == Task::mlm;
  const std::vector<std::string> masked = {
      "cls.predictions.bias",
      "cls.predictions.transform.dense.weight",
      "cls.predictions.transform.dense.bias",
      "cls.predictions.transform.LayerNorm.weight",
      "cls.predictions.transform.LayerNorm.bias",
  };
  const std::vector<std::string> pooled = {"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight",
                                           "classifier.bias"};
  SavedNames names{
      .prefixes = {"bert."},
      .aliases = {{".LayerNorm.gamma", ".LayerNorm.weight"}, {".LayerNorm.beta", ".LayerNorm.bias"}},
      .first_rows = {{.saved = "bert.embeddings.position_embeddings.weight", .key = "model.positions"}},
      .buffers = {{".position_ids", {1, -1}}},
      .other_heads = {"cls.seq_relationship.weight", "cls.seq_relationship.bias"},
      .may_start_anew = is_masked ? masked : pooled,
  };
  const std::vector<std::string>& other = is_masked ? pooled : masked;
  names.other_heads.insert(names.other_heads.end(), other.begin(), other.end());
  // The decoder of masked tokens is the embedding, and others save its bias by a second name.
  for (const SavedCopy& copy :
       {SavedCopy{"cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight",
                  "this model predicts masked tokens by their embedding, and has no decoder of its own"},
        SavedCopy{"cls.predictions.decoder.bias", "cls.predictions.bias", "save the bias once"}})
    if (is_masked)
      names.copies.push_back(copy);
    else
      names.other_heads.push_back(copy.theirs);
  for (int64_t l = 0; l < options.layers; ++l) {
    const std::string self = fmt::format("bert.encoder.layer.{}.attention.self.", l);
    for (const char* kind : {"weight", "bias"}) {
      int64_t first_row = 0;
      for (const char* part : {"query", "key", "value"}) {
        names.parts.push_back({.saved = fmt::format("{}{}.{}", self, part, kind),
                               .param = fmt::format("{}qkv.{}", self, kind),
                               .first_row = first_row,
                               .num_rows = options.width});
        first_row += options.width;
      }
    }
  }
  return names;
}

constinit const ModelKind kKind = {
    .name = "bert",
    .sections = kSections,
    .initial_options = [] { return std::any(Options{}); },
    .resolve = resolve,
    .preset_keys = kPresetKeys,
    .check = check,
    .export_files = export_files,
    .import_json = import_json,
    .counts_accuracy = true,
};

}  // namespace ddp::bert
