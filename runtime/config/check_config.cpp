// Checks of values against each other. Every message lists values that would work.
#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "runtime/base/check.h"
#include "runtime/config/config.h"
#include "runtime/config/fields.h"
#include "runtime/config/mismatch.h"
#include "runtime/config/value.h"

namespace ddp {
namespace {

constexpr int64_t kMaxLanes = 8;

void check_precision(const Config& config) {
  const TrainConfig& t = config.train;
  if (!t.loss_scale || t.precision == PrecisionName::fp16) return;
  throw mismatch(fmt::format("train.loss_scale {} with train.precision {}: only fp16 is scaled", *t.loss_scale,
                             name_of(t.precision)),
                 "remove train.loss_scale, or set train.precision to fp16");
}

// A key that the chosen optimizer or schedule does not read would be a setting without effect.
void check_readers(const Config& config) {
  for (const KeySection& section : sections_of(model_kind(config)))
    for (const Field* field : section.fields) {
      if (is_read(section.name, *field, config) || field->at.get(config) == field->at.initial(*config.registry))
        continue;
      const std::string key = full_key(section.name, field->key);
      throw mismatch(fmt::format("{} is set, which is {}'s, and {}.name is {}", key, field->reader, section.name,
                                 print_value(section.fields.front()->at.get(config))),  // its name
                     fmt::format("remove {}, or set {}.name to {}", key, section.name, field->reader));
    }
}

void check_optimizer(const Config& config) {
  const OptimizerConfig& o = config.optimizer;
  if (o.nesterov && o.momentum == 0.0)
    throw mismatch("optimizer.nesterov without optimizer.momentum", "set optimizer.momentum, or nesterov to false");
}

void check_schedule(const Config& config) {
  if (config.schedule.min_lr > config.optimizer.lr)
    throw mismatch(
        fmt::format("schedule.min_lr {} is above optimizer.lr {}", config.schedule.min_lr, config.optimizer.lr),
        fmt::format("set it to {} or less", config.optimizer.lr));
  if (config.schedule.warmup_steps > config.train.steps)
    throw mismatch(fmt::format("schedule.warmup_steps {} is above train.steps {}", config.schedule.warmup_steps,
                               config.train.steps),
                   fmt::format("set it to {} or less", config.train.steps));
  if (config.eval.every > 0 && config.data.valid.empty())
    throw mismatch(fmt::format("eval.every is {} but data.valid is not set", config.eval.every),
                   "set data.valid to a held-out file, or eval.every to 0");
}

void check_data(const Config& config) {
  const auto check_paths = [&](const char* key, const PathList& list) {
    if (list.paths.size() > 1 && !data_format(config).has_shards)
      throw mismatch(
          fmt::format("{} names {} paths, and data.format {} takes one", key, list.paths.size(), config.data.format),
          "name one");
  };
  check_paths("data.train", config.data.train);
  check_paths("data.valid", config.data.valid);
  if (config.data.token_bytes != TokenBytes::automatic && config.data.format != "tokens")
    throw mismatch(fmt::format("data.token_bytes is set, which is of data.format tokens, and data.format is {}",
                               config.data.format),
                   "remove data.token_bytes");
  if (config.data.augment == Augment::automatic || data_format(config).augment) return;
  throw mismatch(fmt::format("data.augment is {}, and data.format {} has no pictures to vary",
                             name_of(config.data.augment), config.data.format),
                 "remove data.augment");
}

void check_best(const Config& config) {
  const BestBy best = config.checkpoint.best;
  if (best == BestBy::none) return;
  if (config.eval.every == 0)
    throw mismatch(
        fmt::format("checkpoint.best is {} but eval.every is 0: there is no evaluation to be the best", name_of(best)),
        "set eval.every, or checkpoint.best to none");
  if (best == BestBy::accuracy && !model_kind(config).counts_accuracy)
    throw mismatch(fmt::format("checkpoint.best is accuracy, which no evaluation of {} counts", config.model.name),
                   "set checkpoint.best to loss");
}

std::string batches_that_work(const Config& config, int64_t ranks) {
  const TrainConfig& t = config.train;
  std::string hint =
      fmt::format("global_batch values that work: {}", multiples_near(t.micro_batch * ranks, t.global_batch));
  if (t.global_batch % ranks == 0)
    hint += fmt::format("; micro_batch values that work: {}", divisors_near(t.global_batch / ranks, t.micro_batch));
  else
    hint += fmt::format("; numbers of ranks that divide global_batch: {}", divisors_near(t.global_batch, ranks));
  return hint;
}

void check_batch(const Config& config, int64_t ranks) {
  const TrainConfig& t = config.train;
  if (const int64_t least = least_micro_batch(config); t.micro_batch < least)
    throw mismatch(fmt::format("train.micro_batch {}: so few samples have no variance for batch norm", t.micro_batch),
                   fmt::format("set it to {} or more", least));
  if (t.global_batch % (t.micro_batch * ranks) != 0)
    throw mismatch(fmt::format("train.global_batch {} is not train.micro_batch {} x {} ranks x a whole number",
                               t.global_batch, t.micro_batch, ranks),
                   batches_that_work(config, ranks));
}

// The canonical summation tree has a place for a power-of-two number of ranks, at most one a lane.
void check_lanes(const Config& config, int64_t ranks) {
  const TrainConfig& t = config.train;
  if (!t.deterministic || t.global_batch % t.micro_batch != 0) return;  // check_batch says the latter
  const int64_t lanes = num_lanes(config);
  if (std::has_single_bit(uint64_t(ranks)) && ranks <= lanes) return;
  std::vector<int64_t> numbers;
  for (int64_t r = 1; r <= lanes; r *= 2) numbers.push_back(r);
  std::string hint = fmt::format("numbers of ranks that work: {}", fmt::join(numbers, ", "));
  if (std::has_single_bit(uint64_t(ranks)) && ranks <= kMaxLanes && t.global_batch % ranks == 0)
    hint += fmt::format("; micro_batch values that work: {}", divisors_near(t.global_batch / ranks, t.micro_batch));
  throw mismatch(fmt::format("train.deterministic cannot use {} ranks: a step of {} micro-batches has {} lanes", ranks,
                             t.global_batch / t.micro_batch, lanes),
                 hint);
}

}  // namespace

void check_config(const Config& config, int ranks) {
  DDP_CHECK(ranks >= 1, "{} ranks", ranks);
  model_kind(config).check(config);
  check_precision(config);
  check_readers(config);
  check_optimizer(config);
  check_schedule(config);
  check_data(config);
  check_best(config);
  check_lanes(config, ranks);
  check_batch(config, ranks);
}

int64_t accumulation_steps(const Config& config, int ranks) {
  const TrainConfig& t = config.train;
  DDP_CHECK(t.global_batch % (t.micro_batch * ranks) == 0, "check_config was not called");
  return t.global_batch / (t.micro_batch * ranks);
}

int64_t least_micro_batch(const Config& config) {
  const ModelKind& kind = model_kind(config);
  return kind.least_micro_batch == nullptr ? 1 : kind.least_micro_batch(config);
}

int64_t num_lanes(const Config& config) {
  const int64_t micro_batches = config.train.global_batch / config.train.micro_batch;
  return std::min(kMaxLanes, micro_batches & -micro_batches);  // x & -x: the largest power of two that divides x
}

}  // namespace ddp
