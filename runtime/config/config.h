// The configuration of a run, as in the YAML. Tables of fields (fields.h) drive parsing, printing, defaults, --explain,
// and the errors for unknown keys; configs/README.md documents every key and a test compares the two.
#pragma once

#include <any>
#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/config/choices.h"
#include "runtime/config/registry.h"

namespace ddp {

struct ModelConfig {
  std::string name;       // of a model of the registry
  std::string init_from;  // a model.safetensors to start from; empty: random
  std::any options;       // the model's own struct, with its keys of every section: options_of
};

// Files that are read as one, in this order; none: not set. In the YAML one path, or a list of several.
struct PathList {
  std::vector<std::string> paths;

  bool empty() const { return paths.empty(); }
  std::string text() const;  // for a message: "a.bin", or "a.bin and 2 more"
  bool operator==(const PathList&) const = default;
};
inline constexpr size_t kMaxPaths = 4096;  // of a list

struct DataConfig {
  std::string format = "tokens";  // of a format of the registry
  PathList train, valid;          // relative paths are relative to the working directory
  TokenBytes token_bytes = TokenBytes::automatic;
  Augment augment = Augment::automatic;
  OnCorrupt corrupt = OnCorrupt::skip;
  int64_t num_workers = 1;
};

struct TrainConfig {
  int64_t steps = 400, micro_batch = 8, global_batch = 64;
  PrecisionName precision = PrecisionName::fp32;
  std::optional<double> loss_scale;  // of fp16; none: dynamic
  double loss_scale_init = 65536;
  int64_t loss_scale_interval = 2000;  // updates in a row that double it
  int64_t max_floor_skips = 20;        // skips in a row, the scale at its floor, that end the run: non_finite (79)
  GradDtype grad_dtype = GradDtype::automatic;
  int64_t seed = 1;
  bool deterministic = false;
  double clip_norm = 1.0;   // 0: never clip
  bool cuda_graph = false;  // steps as CUDA graphs; no effect on the CPU
  NcclBlocking nccl_blocking = NcclBlocking::automatic;
  int64_t workspace_mb = 32;     // MiB that cuBLASLt and cuDNN may use on a GPU; no effect on the CPU
  double bucket_mb = 25;         // MiB of gradients in an all-reduce bucket
  int64_t threads_per_rank = 0;  // 0: cores / ranks, at least 1
  double hang_timeout_s = 600;   // a rank that makes no progress for so long ends the run with hang (124)
};

struct OptimizerConfig {
  OptimizerName name = OptimizerName::adamw;
  double lr = 1e-3;
  std::array<double, 2> betas = {0.9, 0.95};
  double eps = 1e-8, weight_decay = 0.1;
  double momentum = 0.9;
  bool nesterov = false;
};

struct ScheduleConfig {
  ScheduleName name = ScheduleName::cosine;
  int64_t warmup_steps = 0;
  double min_lr = 0.0;
  double power = 2.0;      // polynomial
  int64_t step_size = 30;  // step
  double gamma = 0.1;      // step
};

struct EvalConfig {
  int64_t every = 0, samples = 512;  // every 0: never; samples: over all ranks, 0: all
};

struct CheckpointConfig {
  int64_t every = 0, keep = 2;  // every 0: only the last
  bool last = true;
  BestBy best = BestBy::none;
};

struct LogConfig {
  int64_t every = 1;
};

struct Config {
  const ConfigRegistry* registry = nullptr;  // that it was read with
  ModelConfig model;
  DataConfig data;
  TrainConfig train;
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  EvalConfig eval;
  CheckpointConfig checkpoint;
  LogConfig log;
  std::string output_dir = "runs/default";
  // A line each, for who typed it: of keys of the past.
  std::vector<std::string> notes = {};
};

// The options of the configuration's model, which are of this type.
template <class Options>
const Options& options_of(const Config& config) {
  const auto* options = std::any_cast<Options>(&config.model.options);
  DDP_CHECK(options != nullptr, "the options of model \"{}\" are of another type", config.model.name);
  return *options;
}
template <class Options>
Options& options_of(Config& config) {
  return const_cast<Options&>(options_of<Options>(std::as_const(config)));
}

// Of the registry that the configuration was read with.
const ModelKind& model_kind(const Config& config);
const DataFormat& data_format(const Config& config);

// What transformers reads beside the weights of the configuration's model, by the names of the files; may be none.
std::map<std::string, std::string> exported_files(const Config& config);

// Every key at its default; required ones are empty. `model` is of the registry; empty: its first.
Config initial_config(const ConfigRegistry& registry, std::string_view model = {});

// What keys become that neither the file nor an override gives, instead of their own defaults: what a run that is gone
// on with has, or what stands beside the weights. What a given preset sets counts as given, unless they are of the
// same.
struct Defaults {
  // A key that must not be given another value: weights that lie ready are of this one.
  struct Bond {
    std::string key;
    std::string says;          // for errors: "n_head is 4 in gpt2/config.json"
    bool may_be_less = false;  // of an integer: the weights will do for less
  };
  std::string source;                    // stands for them in errors
  std::vector<std::string> values = {};  // "key.path=value", as overrides
  std::vector<Bond> bonds = {};          // of keys that have a value here
};

// What a file that came with weights says of a configuration.
struct ImportedConfig {
  Defaults defaults;
  std::vector<std::string> unknown;  // its keys that mean nothing here
};

// What somebody typed: parses, applies `overrides` ("key.path=value") and then `output_dir`, which is no YAML, where
// not empty, then `defaults`, resolves the defaults that depend on other keys, and checks every value by itself (type,
// range, choice). In paths ~ and $NAME mean what path_text.h says, but for those of `defaults`. model.name comes first,
// wherever it is given: it says which keys there are. Errors: no_input (66) when the file is missing; config (78) as
// "file:line:column: ..." with the nearest known key for an unknown one, the model that a key of another model belongs
// to, the new key for a retired one that only has another name, and both sides of a bond that does not hold.
Config load_config(const std::filesystem::path& file, const ConfigRegistry& registry,
                   std::span<const std::string> overrides = {}, const std::string& output_dir = {},
                   const Defaults& defaults = {});
// Its output_dir alone, of a file that may lack what a run that it goes on with has. Errors: those of what is read.
std::string load_output_dir(const std::filesystem::path& file, const ConfigRegistry& registry,
                            std::span<const std::string> overrides, const std::string& output_dir);
// Likewise its model.init_from: what lies beside that may say which model it is.
std::string load_init_from(const std::filesystem::path& file, const ConfigRegistry& registry,
                           std::span<const std::string> overrides);
// The same for a text of which only the overrides are typed; `name` stands for the file in errors.
Config parse_config(std::string_view text, const std::string& name, const ConfigRegistry& registry,
                    std::span<const std::string> overrides = {}, const std::string& output_dir = {},
                    const Defaults& defaults = {});
// The same for a text that this program stored, perhaps an older version of it: a checkpoint's, a run's config.yaml.
// Retired keys mean in it, and not in `overrides`, what they mean now.
Config parse_stored_config(std::string_view text, const std::string& name, const ConfigRegistry& registry,
                           std::span<const std::string> overrides = {});

// Checks the values against each other and against `ranks`: global_batch = micro_batch x ranks x accumulation,
// deterministic with this number of ranks, several files of a format that has such, and what the model says. Errors:
// config (78) with the values that would work.
void check_config(const Config& config, int ranks);
// Micro-batches a rank runs in a step: global_batch / (micro_batch * ranks). check_config has passed.
int64_t accumulation_steps(const Config& config, int ranks);
// Samples that a micro-batch of the model has at least.
int64_t least_micro_batch(const Config& config);
// L of the canonical summation tree: the largest power of two that divides global_batch / micro_batch, at most 8.
int64_t num_lanes(const Config& config);

// Every key of a run, but for what is of the place where it is (output_dir, threads), for what goes on with it.
Defaults defaults_of(const Config& config, const std::string& source);
// The fully resolved configuration as YAML that parse_config reads back to the same values (doubles round-trip).
std::string to_yaml(const Config& config);
// Every leaf as ("train.seed", "1"), in the order of the YAML.
std::vector<std::pair<std::string, std::string>> flatten(const Config& config);
// xxh3 of what determines the result of a run, so without the keys that a resume may change (paths of data, which has a
// fingerprint, threads, micro_batch, bucket_mb, output, log, eval, checkpoint), as 16 hex digits. For people: it stands
// in manifests, and no program compares it.
std::string config_digest(const Config& config);
// Text for `--explain key` (one key), `--explain section` or `--explain` (all): type, unit, default, range, meaning;
// the common keys and then each model's. Errors: usage (64) with the nearest key.
std::string explain(std::string_view key, const ConfigRegistry& registry);

}  // namespace ddp
