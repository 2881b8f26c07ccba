#include "runtime/config/fields.h"

#include <type_traits>
#include <vector>

#include "runtime/config/nearest.h"

namespace ddp {
namespace {

// Access to one leaf by its path of member pointers.
template <auto... path>
constexpr Access leaf = {
    [](const Config& config) -> Value { return (config.*....*path); },
    [](Config& config, const Value& value) {
      auto& target = (config.*....*path);
      target = std::get<std::remove_cvref_t<decltype(target)>>(value);
    },
};

// Text of which the default and these are allowed.
template <auto& words, auto... path>
constexpr Access one_of = {leaf<path...>.get, leaf<path...>.set,
                           [] { return std::vector<std::string_view>(std::begin(words), std::end(words)); }};

// A leaf that is an enum; its value as text is its name.
template <auto... path>
constexpr Access choice = {
    [](const Config& config) -> Value { return std::string(name_of((config.*....*path))); },
    [](Config& config, const Value& value) {
      auto& target = (config.*....*path);
      target = named<std::remove_cvref_t<decltype(target)>>(std::get<std::string>(value));
    },
    [] {
      std::vector<std::string_view> words;
      for (const auto& choice : names_of((Config{}.*....*path))) words.push_back(choice.name);
      return words;
    },
};

constexpr Access kLossScale = {
    [](const Config& config) -> Value {
      return NumberOrWord{config.train.loss_scale, "dynamic"};
    },
    [](Config& config, const Value& value) { config.train.loss_scale = std::get<NumberOrWord>(value).number; },
};

constexpr double kMaxCount = 1e9;
constexpr std::string_view kModels[] = {"gpt2"};
constexpr std::string_view kPresets[] = {"gpt2-small", "gpt2-medium", "gpt2-large", "gpt2-xl"};
constexpr std::string_view kFormats[] = {"bytes", "tokens"};
constexpr std::string_view kRecomputes[] = {"none", "gelu", "gelu+ln", "block"};

constexpr Field kModel[] = {
    {.key = "name", .at = one_of<kModels, &Config::model, &ModelConfig::name>, .meaning = "the architecture"},
    {.key = "preset",
     .at = one_of<kPresets, &Config::model, &ModelConfig::preset>,
     .resume_may_change = true,
     .meaning = "sets layers, heads, width, context and vocab; a size given beside it wins"},
    {.key = "layers",
     .at = leaf<&Config::model, &ModelConfig::layers>,
     .unit = "blocks",
     .range = {1, 1000},
     .meaning = "transformer blocks"},
    {.key = "heads",
     .at = leaf<&Config::model, &ModelConfig::heads>,
     .unit = "heads",
     .range = {1, 256},
     .meaning = "attention heads; must divide width"},
    {.key = "width",
     .at = leaf<&Config::model, &ModelConfig::width>,
     .unit = "channels",
     .range = {1, 65536},
     .meaning = "channels of the residual stream"},
    {.key = "context",
     .at = leaf<&Config::model, &ModelConfig::context>,
     .unit = "tokens",
     .range = {1, 1048576},
     .meaning = "tokens of a sample: positions the model sees at once"},
    {.key = "vocab",
     .at = leaf<&Config::model, &ModelConfig::vocab>,
     .unit = "tokens",
     .range = {2, 10'000'000},
     .meaning =
         "size of the vocabulary, never smaller than the data's; 256 with data.format bytes unless vocab or preset "
         "is given"},
    {.key = "dropout",
     .at = leaf<&Config::model, &ModelConfig::dropout>,
     .range = {.min = 0, .max = 1, .without_max = true},
     .meaning = "probability with which an activation is dropped in training"},
    {.key = "tie_embeddings",
     .at = leaf<&Config::model, &ModelConfig::tie_embeddings>,
     .meaning = "the classifier shares the token embedding's weights"},
    {.key = "init_from",
     .at = leaf<&Config::model, &ModelConfig::init_from>,
     .unit = "path",
     .meaning = "a model.safetensors whose weights the run starts from; empty: random weights from the seed"},
};

constexpr Field kData[] = {
    {.key = "format",
     .at = one_of<kFormats, &Config::data, &DataConfig::format>,
     .meaning =
         "bytes: the file itself, a token a byte; tokens: a .bin with llm.c's header, which tells uint16 or uint32, or "
         "headerless as nanoGPT's: uint16, or uint32 when model.vocab is above 65536"},
    {.key = "train",
     .at = leaf<&Config::data, &DataConfig::train>,
     .unit = "path",
     .required = true,
     .meaning = "the file to train on; a relative path is relative to the working directory"},
    {.key = "valid",
     .at = leaf<&Config::data, &DataConfig::valid>,
     .unit = "path",
     .resume_may_change = true,
     .meaning = "the held-out file of the same format; needed when eval.every is not 0"},
    {.key = "num_workers",
     .at = leaf<&Config::data, &DataConfig::num_workers>,
     .unit = "threads",
     .range = {1, 64},
     .resume_may_change = true,
     .meaning = "threads of a rank that prepare batches ahead of the training loop"},
};

constexpr Field kTrain[] = {
    {.key = "steps",
     .at = leaf<&Config::train, &TrainConfig::steps>,
     .unit = "steps",
     .range = {1, kMaxCount},
     .meaning = "optimizer steps of the whole run; the schedule ends here"},
    {.key = "micro_batch",
     .at = leaf<&Config::train, &TrainConfig::micro_batch>,
     .unit = "samples",
     .range = {1, 1'000'000},
     .resume_may_change = true,
     .meaning = "samples a rank computes at once; bounded by memory"},
    {.key = "global_batch",
     .at = leaf<&Config::train, &TrainConfig::global_batch>,
     .unit = "samples",
     .range = {1, 1'000'000},
     .meaning = "samples of a step over all ranks: micro_batch x ranks x accumulation"},
    {.key = "precision",
     .at = choice<&Config::train, &TrainConfig::precision>,
     .meaning =
         "number format of parameters and activations; bf16 and fp16 keep fp32 master weights; sums are fp32 in all. "
         "tf32: fp32 with products on tensor cores, CUDA only. On CUDA tf32 and bf16 need compute capability 8.0"},
    {.key = "loss_scale",
     .at = kLossScale,
     .range = {1e-6, 16777216},
     .meaning = "dynamic, or a number that stays: what the loss of an fp16 run is multiplied by before backward; other "
                "precisions need none"},
    {.key = "loss_scale_init",
     .at = leaf<&Config::train, &TrainConfig::loss_scale_init>,
     .range = {1, 16777216},
     .meaning = "where a dynamic loss scale starts"},
    {.key = "loss_scale_interval",
     .at = leaf<&Config::train, &TrainConfig::loss_scale_interval>,
     .unit = "steps",
     .range = {1, kMaxCount},
     .meaning =
         "updates in a row after which a dynamic loss scale doubles, up to 2^24; a step that is not finite halves "
         "it, down to 1"},
    {.key = "max_floor_skips",
     .at = leaf<&Config::train, &TrainConfig::max_floor_skips>,
     .unit = "steps",
     .range = {1, kMaxCount},
     .resume_may_change = true,
     .meaning =
         "steps skipped in a row, with the loss scale as low as it goes, that end an fp16 run with exit code 79; the "
         "first such step ends a run of another precision"},
    {.key = "grad_dtype",
     .at = choice<&Config::train, &TrainConfig::grad_dtype>,
     .meaning = "format in which gradients are all-reduced; auto: 16 bits in bf16 and fp16 runs, but fp32 where "
                "train.deterministic. Sums over micro-batches are fp32 in either"},
    {.key = "recompute",
     .at = one_of<kRecomputes, &Config::train, &TrainConfig::recompute>,
     .resume_may_change = true,
     .meaning =
         "what backward computes again instead of keeping it: gelu and gelu+ln cost about 1% of a step, block one more "
         "forward. The same bits in all"},
    {.key = "seed",
     .at = leaf<&Config::train, &TrainConfig::seed>,
     .range = {0, 9.2e18},
     .meaning = "of initial weights, data order and dropout"},
    {.key = "deterministic",
     .at = leaf<&Config::train, &TrainConfig::deterministic>,
     .meaning =
         "the same bits for every power-of-two number of ranks up to the number of lanes, for more gradient memory"},
    {.key = "cuda_graph",
     .at = leaf<&Config::train, &TrainConfig::cuda_graph>,
     .resume_may_change = true,
     .meaning =
         "launch the work of a step as CUDA graphs, captured in the second step: less time of the host, the same "
         "bits; exposed communication is then not measured. Without effect on the CPU"},
    {.key = "nccl_blocking",
     .at = choice<&Config::train, &TrainConfig::nccl_blocking>,
     .resume_may_change = true,
     .meaning =
         "NCCL's calls return only when their work is enqueued; auto: false, unless cuda_graph on several GPUs needs "
         "it, which is tried at the start. Without effect on the CPU"},
    {.key = "clip_norm",
     .at = leaf<&Config::train, &TrainConfig::clip_norm>,
     .range = {0, 1e30},
     .meaning = "gradients are scaled down to this global 2-norm; 0: never"},
    {.key = "bucket_mb",
     .at = leaf<&Config::train, &TrainConfig::bucket_mb>,
     .unit = "MiB",
     .range = {.min = 0, .max = 1e6, .without_min = true},
     .resume_may_change = true,
     .meaning = "gradients in one all-reduce"},
    {.key = "threads_per_rank",
     .at = leaf<&Config::train, &TrainConfig::threads_per_rank>,
     .unit = "threads",
     .range = {0, 1024},
     .resume_may_change = true,
     .meaning = "compute threads of a rank on the CPU; 0: cores / ranks, at least 1"},
    {.key = "hang_timeout_s",
     .at = leaf<&Config::train, &TrainConfig::hang_timeout_s>,
     .unit = "s",
     .range = {1, 1e6},
     .resume_may_change = true,
     .meaning = "a rank that makes no progress for so long ends the run with exit code 124"},
};

constexpr Field kOptimizer[] = {
    {.key = "name",
     .at = choice<&Config::optimizer, &OptimizerConfig::name>,
     .meaning = "adamw: Adam with decoupled weight decay; sgd: gradient descent with momentum, as torch.optim.SGD"},
    {.key = "lr",
     .at = leaf<&Config::optimizer, &OptimizerConfig::lr>,
     .range = {0, 1e6},
     .meaning = "the highest learning rate, reached at the end of the warm-up"},
    {.key = "betas",
     .at = leaf<&Config::optimizer, &OptimizerConfig::betas>,
     .range = {.min = 0, .max = 1, .without_max = true},
     .meaning = "adamw: decay of the running means of the gradient and of its square"},
    {.key = "eps",
     .at = leaf<&Config::optimizer, &OptimizerConfig::eps>,
     .range = {1e-30, 1},
     .meaning = "adamw: added to the root of the second moment"},
    {.key = "weight_decay",
     .at = leaf<&Config::optimizer, &OptimizerConfig::weight_decay>,
     .range = {0, 1e3},
     .meaning =
         "of matrices and embeddings; biases and norms never decay. sgd adds it to the gradient, where recipes have "
         "1e-5 to 1e-3"},
    {.key = "momentum",
     .at = leaf<&Config::optimizer, &OptimizerConfig::momentum>,
     .range = {.min = 0, .max = 1, .without_max = true},
     .meaning = "sgd: what is kept of the running sum of gradients; 0: none, and no memory for it"},
    {.key = "nesterov",
     .at = leaf<&Config::optimizer, &OptimizerConfig::nesterov>,
     .meaning = "sgd: Nesterov's form of momentum, which looks a step ahead"},
};

constexpr Field kSchedule[] = {
    {.key = "name",
     .at = choice<&Config::schedule, &ScheduleConfig::name>,
     .meaning =
         "how the learning rate goes from lr at the end of the warm-up to min_lr at the last step; constant: stays lr"},
    {.key = "warmup_steps",
     .at = leaf<&Config::schedule, &ScheduleConfig::warmup_steps>,
     .unit = "steps",
     .range = {0, kMaxCount},
     .meaning = "the learning rate of step t is lr * t / warmup_steps up to here; at most train.steps"},
    {.key = "min_lr",
     .at = leaf<&Config::schedule, &ScheduleConfig::min_lr>,
     .range = {0, 1e6},
     .meaning = "the learning rate at the last step; at most optimizer.lr"},
};

constexpr Field kEval[] = {
    {.key = "every",
     .at = leaf<&Config::eval, &EvalConfig::every>,
     .unit = "steps",
     .range = {0, kMaxCount},
     .resume_may_change = true,
     .meaning = "evaluate on data.valid after every so many steps, and after the last; 0: never"},
    {.key = "batches",
     .at = leaf<&Config::eval, &EvalConfig::batches>,
     .unit = "micro-batches",
     .range = {1, 1'000'000},
     .resume_may_change = true,
     .meaning = "micro-batches of an evaluation over all ranks: always the first samples of data.valid, fewer where it "
                "is shorter"},
};

constexpr Field kCheckpoint[] = {
    {.key = "every",
     .at = leaf<&Config::checkpoint, &CheckpointConfig::every>,
     .unit = "steps",
     .range = {0, kMaxCount},
     .resume_may_change = true,
     .meaning = "commit a checkpoint after every so many steps; 0: only where the run ends"},
    {.key = "keep",
     .at = leaf<&Config::checkpoint, &CheckpointConfig::keep>,
     .unit = "checkpoints",
     .range = {1, 1'000'000},
     .resume_may_change = true,
     .meaning = "the newest checkpoints that are kept; older ones are removed"},
    {.key = "last",
     .at = leaf<&Config::checkpoint, &CheckpointConfig::last>,
     .resume_may_change = true,
     .meaning =
         "commit a checkpoint after the last step; false, for benchmarks: only where checkpoint.every says so. A "
         "run that is stopped before, by a signal or --stop-after, commits in any case"},
};

constexpr Field kLog[] = {
    {.key = "every",
     .at = leaf<&Config::log, &LogConfig::every>,
     .unit = "steps",
     .range = {1, kMaxCount},
     .resume_may_change = true,
     .meaning = "print a line on the console after every so many steps; metrics.jsonl has every step"},
};

constexpr Field kTop[] = {
    {.key = "output_dir",
     .at = leaf<&Config::output_dir>,
     .unit = "path",
     .resume_may_change = true,
     .meaning = "the run's folder: config.yaml, metrics.jsonl, status.json, logs, checkpoints"},
};

constexpr Section kSections[] = {
    {"model", kModel},           {"data", kData},         {"train", kTrain},
    {"optimizer", kOptimizer},   {"schedule", kSchedule}, {"eval", kEval},
    {"checkpoint", kCheckpoint}, {"log", kLog},           {"", kTop},
};

std::string_view last_part(std::string_view key) { return key.substr(key.rfind('.') + 1); }

}  // namespace

std::span<const Section> sections() { return kSections; }

const Section* find_section(std::string_view name) {
  for (const Section& section : kSections)
    if (section.name == name) return &section;
  return nullptr;
}

const Field* find_field(const Section& section, std::string_view key) {
  for (const Field& field : section.fields)
    if (field.key == key) return &field;
  return nullptr;
}

std::string full_key(const Section& section, const Field& field) {
  return section.name.empty() ? std::string(field.key) : std::string(section.name) + "." + std::string(field.key);
}

std::string nearest_key(std::string_view wrong) {
  std::string best;
  size_t best_distance = SIZE_MAX;
  const auto consider = [&](const std::string& key, size_t distance) {
    if (distance < best_distance) best = key, best_distance = distance;
  };
  for (const Section& section : kSections)
    if (!section.name.empty()) consider(std::string(section.name), edit_distance(wrong, section.name));
  for_each_field([&](const Section& section, const Field& field) {
    const std::string key = full_key(section, field);
    consider(key, edit_distance(wrong, key));
    // The right key in the wrong section ("train.lr") is nearer than a wrong key of the section.
    consider(key, edit_distance(last_part(wrong), field.key) + 1);
  });
  return best;
}

}  // namespace ddp
