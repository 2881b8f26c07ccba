// The configuration of a run, as in the YAML. One field table a struct (config.cpp) drives parsing, printing, defaults,
// --explain, and the errors for unknown keys; configs/README.md documents every key and a test compares the two.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/config/choices.h"

namespace ddp {

struct ModelConfig {
  std::string name = "gpt2";
  std::string preset;  // gpt2-small, gpt2-medium, ...: sets the sizes below; a size given beside it wins
  int64_t layers = 12, heads = 12, width = 768, context = 1024, vocab = 50257;
  double dropout = 0.0;
  bool tie_embeddings = true;
  std::string init_from;  // a model.safetensors to start from; empty: random
};

inline constexpr int64_t kBytesVocab = 256;  // of data.format bytes

struct DataConfig {
  std::string format = "tokens";  // bytes | tokens
  std::string train, valid;       // paths; relative ones are relative to the working directory
  int64_t num_workers = 1;
};

struct TrainConfig {
  int64_t steps = 400, micro_batch = 8, global_batch = 64;
  PrecisionName precision = PrecisionName::fp32;
  std::optional<double> loss_scale;  // of fp16; none: dynamic
  double loss_scale_init = 65536;
  int64_t loss_scale_interval = 2000;  // updates in a row that double it
  int64_t max_floor_skips = 20;        // skipped steps in a row, with the scale at its floor, that end the run with 79
  GradDtype grad_dtype = GradDtype::automatic;
  std::string recompute = "none";  // none | gelu | gelu+ln | block
  int64_t seed = 1;
  bool deterministic = false;
  double clip_norm = 1.0;   // 0: never clip
  bool cuda_graph = false;  // steps as CUDA graphs; no effect on the CPU
  NcclBlocking nccl_blocking = NcclBlocking::automatic;
  double bucket_mb = 25;         // MiB of gradients in an all-reduce bucket
  int64_t threads_per_rank = 0;  // 0: cores / ranks, at least 1
  double hang_timeout_s = 600;   // a rank that makes no progress for so long ends the run with 124
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
};

struct EvalConfig {
  int64_t every = 0, batches = 8;  // every 0: never; batches: micro-batches over all ranks, fixed samples
};

struct CheckpointConfig {
  int64_t every = 0, keep = 2;  // every 0: only the last
  bool last = true;
};

struct LogConfig {
  int64_t every = 1;
};

struct Config {
  ModelConfig model;
  DataConfig data;
  TrainConfig train;
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  EvalConfig eval;
  CheckpointConfig checkpoint;
  LogConfig log;
  std::string output_dir = "runs/default";
};

// Parses, applies `overrides` ("key.path=value") and then `output_dir`, as it is and where not empty, expands the
// preset, and checks every value by itself (type, range, choice). Errors: 66 when the file is missing; 78 as
// "file:line:column: ..." with the nearest known key for an unknown one.
Config load_config(const std::filesystem::path& file, std::span<const std::string> overrides,
                   const std::string& output_dir = {});
// The same for a text (a resolved configuration from the board or a run's folder); `name` stands for the file in
// errors.
Config parse_config(std::string_view text, const std::string& name, std::span<const std::string> overrides = {},
                    const std::string& output_dir = {});

// Checks the values against each other and against `ranks`: global_batch = micro_batch x ranks x accumulation, heads
// divide width, deterministic with this number of ranks. Errors: 78 with the values that would work.
void check_config(const Config& config, int ranks);
// Micro-batches a rank runs in a step: global_batch / (micro_batch * ranks). check_config has passed.
int64_t accumulation_steps(const Config& config, int ranks);
// L of the canonical summation tree: the largest power of two that divides global_batch / micro_batch, at most 8.
int64_t num_lanes(const Config& config);

// The fully resolved configuration as YAML that parse_config reads back to the same values (doubles round-trip).
std::string to_yaml(const Config& config);
// Every leaf as ("train.seed", "1"), in the order of the YAML.
std::vector<std::pair<std::string, std::string>> flatten(const Config& config);
// xxh3 of what determines the result of a run, so without the keys that a resume may change (threads, micro_batch,
// bucket_mb, output, log, eval, checkpoint), as 16 hex digits.
std::string config_digest(const Config& config);
// The keys that differ between a run and its continuation and may not, as "train.seed: 1 became 2".
std::vector<std::string> resume_conflicts(const Config& before, const Config& now);
// Text for `--explain key` (one key) or `--explain` (all): type, unit, default, range, meaning. Errors: 64 with the
// nearest key.
std::string explain(std::string_view key);

}  // namespace ddp
