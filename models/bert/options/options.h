// BERT's part of a configuration: its keys with their presets and checks, what train.recompute means for it, and the
// names under which its parameters are saved. Without any device type: the launcher links it.
#pragma once

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
                                                 {Preset::large, "bert-large"},
                                                 {Preset::minilm, "minilm-l6"}};
constexpr std::span<const Named<Preset>> names_of(Preset) { return kPresetNames; }

// What is learnt: masked tokens, or the class of a text.
enum class Task : uint8_t { mlm, classify };
inline constexpr Named<Task> kTaskNames[] = {{Task::mlm, "mlm"}, {Task::classify, "classify"}};
constexpr std::span<const Named<Task>> names_of(Task) { return kTaskNames; }

// What backward computes again instead of keeping it from forward. Per row of C elements a block keeps 16 C with none,
// 12 C with gelu, 10 C with gelu_ln, 1 C with block. The same ops on the same inputs: the same bits in all.
enum class Recompute : uint8_t { none, gelu, gelu_ln, block };
inline constexpr Named<Recompute> kRecomputeNames[] = {
    {Recompute::none, "none"}, {Recompute::gelu, "gelu"}, {Recompute::gelu_ln, "gelu+ln"}, {Recompute::block, "block"}};
constexpr std::span<const Named<Recompute>> names_of(Recompute) { return kRecomputeNames; }

inline constexpr int64_t kTypes = 2;  // of tokens: a text's first part and its second

struct Options {
  Task task = Task::mlm;
  int64_t layers = 12, heads = 12, width = 768;
  int64_t context = 128;     // tokens of a sample
  int64_t positions = 512;   // that have an embedding
  int64_t vocab = 30522;     // live tokens; the padding behind them is masked and not saved
  int64_t predictions = 20;  // mlm: places of a sample for masked tokens
  int64_t classes = 2;       // classify
  double dropout = 0.1;
  Recompute recompute = Recompute::none;
  Preset preset = Preset::none;
};

// Hugging Face's names, with q, k and v apart. Their files may lack "bert.", call a norm's parameters gamma and beta,
// and hold the other task's head.
SavedNames saved_names(const Options& options);

extern const ModelKind kKind;

}  // namespace ddp::bert
