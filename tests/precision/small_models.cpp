#include "tests/precision/small_models.h"

#include "models/bert/bert.h"
#include "models/gpt2/gpt2.h"
#include "models/resnet/resnet.h"
#include "tests/support/gpt2_config.h"

namespace ddp::test {
namespace {

Config in_two_micro_steps(Config config, PrecisionName precision, int64_t samples) {
  config.train.precision = precision;
  config.train.steps = 50;
  config.train.micro_batch = samples / 2;
  config.train.global_batch = samples;
  config.train.bucket_mb = 0.25;
  config.optimizer.lr = 1e-3;
  config.schedule.warmup_steps = 20;
  return config;
}

// ---- GPT-2: heads of 64, and padding columns ----

gpt2::Options gpt2_options(double dropout) {
  return {.layers = 2, .heads = 2, .width = 128, .context = 64, .vocab = 250, .dropout = dropout};
}

SmallModel small_gpt2() {
  return {
      .name = "gpt2",
      .dropouts = {0.0f, 0.1f},
      .samples = 4,
      .batches = 1,
      .runs = 1,
      .make = [](float dropout) -> std::unique_ptr<Model> {
        // A row of logits at a time: the tied embedding's gradient is a sum of as many parts as in a large batch.
        return std::make_unique<gpt2::Gpt2>(gpt2_options(double(dropout)), /*logits_rows=*/1);
      },
      .config =
          [](PrecisionName precision) { return in_two_micro_steps(gpt2_config(gpt2_options(0.0)), precision, 2); },
      .makers = model_makers(),
      .leave_kinks = nullptr,
      .fill = [](HostBatch& batch, uint32_t seed,
                 int32_t first_sample) { fill_learnable(batch, gpt2_options(0.0).vocab, seed, first_sample); },
  };
}

// ---- BERT: heads of 64, padding columns, places without a position ----

constexpr int64_t kBertWords = 16;  // so few of the vocabulary that a few steps learn something

bert::Options bert_options(double dropout) {
  return {.layers = 2,
          .heads = 2,
          .width = 128,
          .context = 48,
          .positions = 64,
          .vocab = 250,
          .predictions = 8,
          .dropout = dropout};
}

SmallModel small_bert() {
  return {
      .name = "bert",
      .dropouts = {0.0f, 0.1f},
      .samples = 4,
      .batches = 1,
      .runs = 1,
      .make = [](float dropout) -> std::unique_ptr<Model> {
        return std::make_unique<bert::Bert>(bert_options(double(dropout)), /*logits_rows=*/1);
      },
      .config =
          [](PrecisionName precision) {
            Config config = initial_config(config_registry(), bert::kKind.name);
            config.model.options = bert_options(0.0);
            config = in_two_micro_steps(config, precision, 4);
            config.optimizer.lr = 3e-3;
            config.schedule.warmup_steps = 2;
            return config;
          },
      .makers = model_makers(),
      .leave_kinks = nullptr,
      .fill = [](HostBatch& batch, uint32_t seed,
                 int32_t first_sample) { fill_learnable_text(batch, kBertWords, seed, first_sample); },
  };
}

// ---- ResNet: bottlenecks with and without a stride, behind the large stem ----

resnet::Options resnet_options() {
  return {.block = resnet::BlockKind::bottleneck,
          .blocks = {1, 1},
          .width = 8,
          .stem = resnet::Stem::imagenet,
          .image = {.size = 24, .classes = 10}};
}

std::unique_ptr<Model> make_resnet(const resnet::Options& options) {
  return std::make_unique<resnet::ResNet>(options, /*pixel_channels=*/8);
}

// Norms of deviations below 1, at 4 or at -4 from channel to channel: where two are added, of the same sign.
void leave_resnet_kinks(const ParamLayout& layout, Vec& params) {
  for (const Param& p : layout.params()) {
    if (p.shape.rank != 1 || p.name == "fc.bias") continue;
    for (int64_t i = 0; i < p.numel; ++i) {
      double& x = params[size_t(p.offset + i)];
      x = p.name.ends_with(".weight") ? x / 2 : i % 3 == 0 ? -4.0 : 4.0;
    }
  }
}

const ModelMaker kResnetMaker = {
    &resnet::kKind, [](const Config& config, DeviceKind) { return make_resnet(options_of<resnet::Options>(config)); }};

SmallModel small_resnet() {
  return {
      .name = "resnet",
      .dropouts = {0.0f},
      .samples = 16,
      .batches = 24,
      .runs = 3,
      .make = [](float) { return make_resnet(resnet_options()); },
      .config =
          [](PrecisionName precision) {
            Config config = initial_config(config_registry(), resnet::kKind.name);
            config.model.options = resnet_options();
            config = in_two_micro_steps(config, precision, 16);
            config.optimizer.name = OptimizerName::sgd;
            config.optimizer.lr = 0.02;
            return config;
          },
      .makers = {&kResnetMaker, 1},
      .leave_kinks = leave_resnet_kinks,
      .fill =
          [](HostBatch& batch, uint32_t seed, int32_t first_sample) {
            fill_learnable_images(batch, resnet_options().image.classes, seed, first_sample);
          },
  };
}

}  // namespace

std::span<const SmallModel> small_models() {
  static const SmallModel models[] = {small_gpt2(), small_bert(), small_resnet()};
  return models;
}

StepMetrics train(StepRunner& run, const SmallModel& small, int64_t step, int seed) {
  int64_t micro_step = 0;
  return run.train(step, [&]() -> const HostBatch& {
    small.fill(run.batch, uint32_t(seed * 10'000 + step * 100 + micro_step),
               int32_t(micro_step * run.config.train.micro_batch));
    ++micro_step;
    return run.batch;
  });
}

}  // namespace ddp::test
