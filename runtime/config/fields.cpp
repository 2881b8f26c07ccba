#include "runtime/config/fields.h"

#include "runtime/config/nearest.h"

namespace ddp {
namespace {

constexpr Access kModelName = {
    leaf<&Config::model, &ModelConfig::name>.get,
    leaf<&Config::model, &ModelConfig::name>.set,
    [](const ConfigRegistry& registry) -> Value { return std::string(registry.models.front()->name); },
    [](const ConfigRegistry& registry) {
      std::vector<std::string_view> names;
      for (const ModelKind* model : registry.models) names.push_back(model->name);
      return names;
    },
};

constexpr Access kDataFormat = {
    leaf<&Config::data, &DataConfig::format>.get,
    leaf<&Config::data, &DataConfig::format>.set,
    leaf<&Config::data, &DataConfig::format>.initial,
    [](const ConfigRegistry& registry) {
      std::vector<std::string_view> names;
      for (const DataFormat& format : registry.formats) names.push_back(format.name);
      return names;
    },
};

constexpr Access kLossScale = {
    [](const Config& config) -> Value {
      return NumberOrWord{config.train.loss_scale, "dynamic"};
    },
    [](Config& config, const Value& value) { config.train.loss_scale = std::get<NumberOrWord>(value).number; },
    [](const ConfigRegistry&) -> Value {
      return NumberOrWord{TrainConfig{}.loss_scale, "dynamic"};
    },
};

constexpr double kMaxCount = 1e9;

constexpr Field kModel[] = {
    {.key = "name", .at = kModelName, .meaning = "the architecture"},
    {.key = "init_from",
     .at = leaf<&Config::model, &ModelConfig::init_from>,
     .unit = "path",
     .resume_may_change = true,
     .meaning =
         "the weights that the run starts from: a safetensors file, the index of one in shards, or a folder with "
         "one of these; empty: random weights from the seed"},
};

constexpr Field kData[] = {
    {.key = "format",
     .at = kDataFormat,
     .meaning =
         "bytes: the file itself, a token a byte; tokens: a .bin with llm.c's header, which tells uint16 or uint32, or "
         "headerless as nanoGPT's: uint16, or uint32 when the vocabulary is above 65536, masked at random for a model "
         "that learns so, by the special tokens of the meta.json beside it; labelled: a safetensors file "
         "of texts, each with a label; images: a folder with a "
         "folder of JPEG and PNG files for each class; idx: MNIST's files, .gz too, data.train names the images; "
         "cifar10, cifar100: the binary version, a file or the folder; synthetic: made-up images, no file, the number "
         "of them in the place of a path"},
    {.key = "train",
     .at = leaf<&Config::data, &DataConfig::train>,
     .unit = "path",
     .required = true,
     .resume_may_change = true,
     .meaning =
         "the file or folder to train on; of bytes, tokens and labelled also several files, which are read as "
         "one in this order: a list of them, or a pattern, as shards/*.bin, whose matches are sorted. A relative "
         "path is relative to the working directory"},
    {.key = "valid",
     .at = leaf<&Config::data, &DataConfig::valid>,
     .unit = "path",
     .resume_may_change = true,
     .meaning = "the held-out file, files or folder of the same format; needed when eval.every is not 0"},
    {.key = "token_bytes",
     .at = leaf<&Config::data, &DataConfig::token_bytes>,
     .unit = "bytes",
     .resume_may_change = true,
     .meaning =
         "format tokens, of a token in a file without a header. auto: 2, or 4 when the vocabulary is above 65536, and "
         "a file whose bytes show that it holds something else (wider integers, text) ends the run with exit code 65; "
         "2 and 4 are taken at their word"},
    {.key = "augment",
     .at = leaf<&Config::data, &DataConfig::augment>,
     .on_purpose = true,
     .meaning =
         "how pictures vary in training. flip: mirrored, every other one; shift: moved at random by up to an eighth of "
         "the sides, black coming in, and flip; resized_crop: a random part, 8 to 100% of the area, 3:4 to 4:3, "
         "scaled, and flip, and evaluation sees 224/256 of a picture's centre instead of all; auto: resized_crop with "
         "format images, shift with cifar10 and cifar100, none with idx"},
    {.key = "corrupt",
     .at = leaf<&Config::data, &DataConfig::corrupt>,
     .resume_may_change = true,
     .meaning =
         "format images, a file that is no sound picture. skip: it is named and counted, and the next one of its "
         "class takes its place; stop: the run ends with exit code 65"},
    {.key = "num_workers",
     .at = leaf<&Config::data, &DataConfig::num_workers>,
     .unit = "threads",
     .range = {1, 64},
     .resume_may_change = true,
     .meaning =
         "threads of a rank that prepare batches ahead of the training loop, and as many ahead of an evaluation"},
};

constexpr Field kTrain[] = {
    {.key = "steps",
     .at = leaf<&Config::train, &TrainConfig::steps>,
     .unit = "steps",
     .range = {1, kMaxCount},
     .on_purpose = true,
     .meaning = "optimizer steps of the whole run; the schedule ends here"},
    {.key = "micro_batch",
     .at = leaf<&Config::train, &TrainConfig::micro_batch>,
     .unit = "samples",
     .range = {1, 1'000'000},
     .resume_may_change = true,
     .shapes_batches = true,
     .on_purpose = true,
     .meaning =
         "samples a rank computes at once; bounded by memory. With batch norm, which normalises them together, it "
         "must match on resume"},
    {.key = "global_batch",
     .at = leaf<&Config::train, &TrainConfig::global_batch>,
     .unit = "samples",
     .range = {1, 1'000'000},
     .on_purpose = true,
     .meaning = "samples of a step over all ranks: micro_batch x ranks x accumulation"},
    {.key = "precision",
     .at = leaf<&Config::train, &TrainConfig::precision>,
     .on_purpose = true,
     .meaning =
         "number format of parameters and activations; bf16 and fp16 keep fp32 master weights; sums are fp32 in all. "
         "tf32: fp32 with products on tensor cores, CUDA only. On CUDA tf32 and bf16 need compute capability 8.0"},
    {.key = "loss_scale",
     .at = kLossScale,
     .range = {1e-6, 16777216},
     .on_purpose = true,
     .meaning = "dynamic, or a number that stays: what the loss of an fp16 run is multiplied by before backward; other "
                "precisions need none"},
    {.key = "loss_scale_init",
     .at = leaf<&Config::train, &TrainConfig::loss_scale_init>,
     .range = {1, 16777216},
     .on_purpose = true,
     .meaning = "where a dynamic loss scale starts"},
    {.key = "loss_scale_interval",
     .at = leaf<&Config::train, &TrainConfig::loss_scale_interval>,
     .unit = "steps",
     .range = {1, kMaxCount},
     .on_purpose = true,
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
     .at = leaf<&Config::train, &TrainConfig::grad_dtype>,
     .on_purpose = true,
     .meaning = "format in which gradients are all-reduced; auto: 16 bits in bf16 and fp16 runs, but fp32 where "
                "train.deterministic. Sums over micro-batches are fp32 in either"},
    {.key = "seed",
     .at = leaf<&Config::train, &TrainConfig::seed>,
     .range = {0, 9.2e18},
     .on_purpose = true,
     .meaning = "of initial weights, data order and dropout"},
    {.key = "deterministic",
     .at = leaf<&Config::train, &TrainConfig::deterministic>,
     .on_purpose = true,
     .meaning =
         "the same bits for every power-of-two number of ranks up to the number of lanes, for more gradient memory"},
    {.key = "cuda_graph",
     .at = leaf<&Config::train, &TrainConfig::cuda_graph>,
     .resume_may_change = true,
     .meaning =
         "launch the work of a step as CUDA graphs, captured in the second step: less time of the host, the same "
         "bits; exposed communication is then not measured. Without effect on the CPU"},
    {.key = "nccl_blocking",
     .at = leaf<&Config::train, &TrainConfig::nccl_blocking>,
     .resume_may_change = true,
     .meaning =
         "NCCL's calls return only when their work is enqueued; auto: false, unless cuda_graph on several GPUs needs "
         "it, which is tried at the start. Without effect on the CPU"},
    {.key = "workspace_mb",
     .at = leaf<&Config::train, &TrainConfig::workspace_mb>,
     .unit = "MiB",
     .range = {0, 65536},
     .on_purpose = true,
     .meaning = "memory of a GPU that cuDNN, and of it up to 32 that cuBLASLt, may use: part of the choice of their "
                "algorithms; 256 with resnet in fp32 and tf32. Without effect on the CPU"},
    {.key = "clip_norm",
     .at = leaf<&Config::train, &TrainConfig::clip_norm>,
     .range = {0, 1e30},
     .on_purpose = true,
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
     .of_the_place = true,
     .meaning = "compute threads of a rank on the CPU; 0: cores / ranks, at least 1, of the cores that the affinity "
                "mask and the cgroup's quota leave"},
    {.key = "hang_timeout_s",
     .at = leaf<&Config::train, &TrainConfig::hang_timeout_s>,
     .unit = "s",
     .range = {1, 1e6},
     .resume_may_change = true,
     .meaning = "a rank that makes no progress for so long ends the run with exit code 124"},
};

constexpr Field kOptimizer[] = {
    {.key = "name",
     .at = leaf<&Config::optimizer, &OptimizerConfig::name>,
     .meaning = "adamw: Adam with decoupled weight decay; sgd: gradient descent with momentum, as torch.optim.SGD"},
    {.key = "lr",
     .at = leaf<&Config::optimizer, &OptimizerConfig::lr>,
     .range = {0, 1e6},
     .on_purpose = true,
     .meaning = "the highest learning rate, reached at the end of the warm-up"},
    {.key = "betas",
     .at = leaf<&Config::optimizer, &OptimizerConfig::betas>,
     .range = {.min = 0, .max = 1, .without_max = true},
     .on_purpose = true,
     .reader = "adamw",
     .meaning = "adamw: decay of the running means of the gradient and of its square"},
    {.key = "eps",
     .at = leaf<&Config::optimizer, &OptimizerConfig::eps>,
     .range = {1e-30, 1},
     .on_purpose = true,
     .reader = "adamw",
     .meaning = "adamw: added to the root of the second moment"},
    {.key = "weight_decay",
     .at = leaf<&Config::optimizer, &OptimizerConfig::weight_decay>,
     .range = {0, 1e3},
     .on_purpose = true,
     .meaning =
         "of matrices and embeddings; biases and norms never decay. sgd adds it to the gradient, where recipes have "
         "1e-5 to 1e-3: there it is 0 unless it is given"},
    {.key = "momentum",
     .at = leaf<&Config::optimizer, &OptimizerConfig::momentum>,
     .range = {.min = 0, .max = 1, .without_max = true},
     .on_purpose = true,
     .reader = "sgd",
     .meaning = "sgd: what is kept of the running sum of gradients; 0: none, and no memory for it"},
    {.key = "nesterov",
     .at = leaf<&Config::optimizer, &OptimizerConfig::nesterov>,
     .on_purpose = true,
     .reader = "sgd",
     .meaning = "sgd: Nesterov's form of momentum, which looks a step ahead"},
};

constexpr Field kSchedule[] = {
    {.key = "name",
     .at = leaf<&Config::schedule, &ScheduleConfig::name>,
     .on_purpose = true,
     .meaning =
         "how the learning rate goes from lr at the end of the warm-up to min_lr at the last step; step: down by gamma "
         "every step_size steps; constant: stays lr"},
    {.key = "warmup_steps",
     .at = leaf<&Config::schedule, &ScheduleConfig::warmup_steps>,
     .unit = "steps",
     .range = {0, kMaxCount},
     .on_purpose = true,
     .meaning = "the learning rate of step t is lr * t / warmup_steps up to here; at most train.steps"},
    {.key = "min_lr",
     .at = leaf<&Config::schedule, &ScheduleConfig::min_lr>,
     .range = {0, 1e6},
     .on_purpose = true,
     .meaning = "the learning rate at the last step, and step's lowest; at most optimizer.lr"},
    {.key = "power",
     .at = leaf<&Config::schedule, &ScheduleConfig::power>,
     .range = {0, 100},
     .on_purpose = true,
     .reader = "polynomial",
     .meaning = "polynomial: min_lr + (lr - min_lr) (1 - progress)^power, progress 0 to 1 after the warm-up"},
    {.key = "step_size",
     .at = leaf<&Config::schedule, &ScheduleConfig::step_size>,
     .unit = "steps",
     .range = {1, kMaxCount},
     .on_purpose = true,
     .reader = "step",
     .meaning = "step: after each so many steps past the warm-up the learning rate is multiplied by gamma"},
    {.key = "gamma",
     .at = leaf<&Config::schedule, &ScheduleConfig::gamma>,
     .range = {.min = 0, .max = 1, .without_min = true},
     .on_purpose = true,
     .reader = "step",
     .meaning = "step: see step_size"},
};

constexpr Field kEval[] = {
    {.key = "every",
     .at = leaf<&Config::eval, &EvalConfig::every>,
     .unit = "steps",
     .range = {0, kMaxCount},
     .resume_may_change = true,
     .meaning = "evaluate on data.valid after every so many steps, and after the last; 0: never"},
    {.key = "samples",
     .at = leaf<&Config::eval, &EvalConfig::samples>,
     .unit = "samples",
     .range = {0, kMaxCount},
     .resume_may_change = true,
     .meaning = "samples of an evaluation over all ranks: always the first of data.valid, fewer where it is shorter, "
                "each once; 0: all"},
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
    {.key = "best",
     .at = leaf<&Config::checkpoint, &CheckpointConfig::best>,
     .resume_may_change = true,
     .meaning =
         "keep the checkpoint of the best evaluation so far as checkpoints/best, beside the newest ones. loss: the "
         "lowest loss; accuracy: the highest top-1; none: keep none"},
};

constexpr Field kLog[] = {
    {.key = "every",
     .at = leaf<&Config::log, &LogConfig::every>,
     .unit = "steps",
     .range = {1, kMaxCount},
     .resume_may_change = true,
     .meaning =
         "print a line after every so many steps, and after the last; a terminal shows every step in a line that is "
         "redrawn, and metrics.jsonl has every step"},
};

constexpr Field kTop[] = {
    {.key = "output_dir",
     .at = leaf<&Config::output_dir>,
     .unit = "path",
     .resume_may_change = true,
     .of_the_place = true,
     .meaning = "the run's folder: config.yaml, metrics.jsonl, status.json, logs, checkpoints"},
};

// Rows of `fields` up to that of `key`.
constexpr size_t rows_to(std::span<const Field> fields, std::string_view key) {
  size_t n = 0;
  while (fields[n++].key != key) {}
  return n;
}

constexpr CommonSection kSections[] = {
    {"model", kModel, rows_to(kModel, "name")},
    {"data", kData},
    {"train", kTrain, rows_to(kTrain, "grad_dtype")},
    {"optimizer", kOptimizer},
    {"schedule", kSchedule},
    {"eval", kEval},
    {"checkpoint", kCheckpoint},
    {"log", kLog},
    {"", kTop},
};

std::string_view last_part(std::string_view key) { return key.substr(key.rfind('.') + 1); }

}  // namespace

std::span<const CommonSection> common_sections() { return kSections; }

std::vector<KeySection> sections_of(const ModelKind& model) {
  std::vector<KeySection> sections;
  for (const CommonSection& common : kSections) {
    KeySection& section = sections.emplace_back(KeySection{common.name, {}});
    const auto append = [&](std::span<const Field> fields) {
      for (const Field& field : fields) section.fields.push_back(&field);
    };
    append(common.fields.first(common.num_before_model));
    for (const Section& own : model.sections)
      if (own.name == common.name) append(own.fields);
    append(common.fields.subspan(common.num_before_model));
  }
  return sections;
}

const Field* find_field(std::span<const KeySection> sections, std::string_view section, std::string_view key) {
  for (const KeySection& candidate : sections)
    if (candidate.name == section)
      for (const Field* field : candidate.fields)
        if (field->key == key) return field;
  return nullptr;
}

std::vector<std::string_view> choices_of(const Field& field, const ConfigRegistry& registry) {
  return field.at.choices == nullptr ? std::vector<std::string_view>() : field.at.choices(registry);
}

bool is_read(std::string_view section, const Field& field, const Config& config) {
  if (field.reader.empty()) return true;
  const Field* name = find_field(sections_of(model_kind(config)), section, "name");
  return name->at.get(config) == Value(std::string(field.reader));
}

bool determines_result(std::string_view section, const Field& field, const Config& config) {
  if (!is_read(section, field, config)) return false;
  return !field.resume_may_change || (field.shapes_batches && model_kind(config).normalises_batches);
}

std::string full_key(std::string_view section, std::string_view key) {
  return section.empty() ? std::string(key) : std::string(section) + "." + std::string(key);
}

std::string nearest_key(std::span<const KeySection> sections, std::string_view wrong) {
  std::string best;
  size_t best_distance = SIZE_MAX;
  const auto consider = [&](const std::string& key, size_t distance) {
    if (distance < best_distance) best = key, best_distance = distance;
  };
  for (const KeySection& section : sections)
    if (!section.name.empty()) consider(std::string(section.name), edit_distance(wrong, section.name));
  for_each_field(sections, [&](const std::string& key, const Field& field) {
    consider(key, edit_distance(wrong, key));
    // The right key in the wrong section ("train.lr") is nearer than a wrong key of the section.
    consider(key, edit_distance(last_part(wrong), field.key) + 1);
  });
  return best;
}

}  // namespace ddp
