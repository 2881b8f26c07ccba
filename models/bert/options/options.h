// BERT's part of a configuration: its keys with their presets and checks, what train.recompute means for it, and the
// names under which its parameters are saved. Without any device type: the launcher links it.
#pragma once

#include "models/transformer_options.h"
#include "runtime/config/config.h"
#include "runtime/config/saved_names.h"

namespace ddp::bert {

// Sizes under the names that published models have; a size given beside it wins.
enum class Preset : uint8_t { none, tiny, mini, small, medium, base, large, minilm };
inline constexpr Named<Preset> kPresetNames[] = {{Preset::none, ""},
                                                 {Preset::tiny, "bert-tiny"},
                                                 {Preset::mini, "bert-mini"},
                                                 {Preset::small, "bert-small"},
                                                 {Preset::medium, "bert-medium"},
                                                 {Preset::base, "bert-base"},
                                                 {Preset::base, "bert-base-uncased"},
                                                 {Preset::large, "bert-large"},
                                                 {Preset::large, "bert-large-uncased"},
                                                 {Preset::minilm, "minilm-l6"}};
constexpr std::span<const Named<Preset>> names_of(Preset) { return kPresetNames; }

// What is learnt: masked tokens, or the class of a text.
enum class Task : uint8_t { mlm, classify };
inline constexpr Named<Task> kTaskNames[] = {{Task::mlm, "mlm"}, {Task::classify, "classify"}};
constexpr std::span<const Named<Task>> names_of(Task) { return kTaskNames; }

inline constexpr int64_t kTypes = 2;  // of tokens: a text's first part and its second

struct Options {
  Task task = Task::mlm;
  int64_t layers = 12, heads = 12, width = 768, mlp_width = 0;
  int64_t context = 128;     // tokens of a sample
  int64_t positions = 512;   // that have an embedding
  int64_t vocab = 30522;     // live tokens; the padding behind them is masked and not saved
  int64_t predictions = 20;  // mlm: places of a sample for masked tokens
  int64_t classes = 2;       // classify
  Activation activation = Activation::gelu;
  double norm_eps = 1e-12;
  double dropout = 0.1;
  TransformerRecompute recompute = TransformerRecompute::none;
  Preset preset = Preset::none;
};

// Hugging Face's names, with q, k and v apart. Their files may lack "bert.", call a norm's parameters gamma and beta,
// and hold the other task's head.
SavedNames saved_names(const Options& options);

extern const ModelKind kKind;

}  // namespace ddp::bert
