// What the trainer relies on, of every model that is registered, and of a toy that only tests know.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <set>

#include "kernels/cpu/gemm.h"
#include "runtime/train/evaluator.h"
#include "tests/support/gradient_check.h"
#include "tests/support/step_runner.h"
#include "tests/support/text_files.h"
#include "tests/toy/toy.h"
#include "tests/train/trainer_runs.h"

using namespace ddp;
using namespace ddp::test;

namespace {

const Known kKnown = {toy::config_registry(), toy::model_makers(), toy::source_makers()};

// A model as small as its structure allows, with padding and odd sizes.
struct Case {
  std::string_view model;
  std::string_view yaml;  // {0}: the folder of the data
  std::string targets;    // the input that they are
};
const Case kCases[] = {
    {"gpt2",
     "model: {{name: gpt2, layers: 2, heads: 2, width: 24, context: 9, vocab: 300, dropout: 0.1}}\n"
     "data: {{format: bytes, train: {0}/train.txt, valid: {0}/train.txt}}\n",
     "targets"},
    {"gpt2",
     "model: {{name: gpt2, layers: 2, heads: 3, width: 12, mlp_width: 35, context: 7, vocab: 300, activation: tanh, "
     "norm_eps: 0.1, dropout: 0.1}}\n"
     "data: {{format: bytes, train: {0}/train.txt, valid: {0}/train.txt}}\n",
     "targets"},
    {"bert",
     "model: {{name: bert, layers: 2, heads: 2, width: 24, context: 11, vocab: 300, predictions: 3, dropout: 0.1}}\n"
     "data: {{format: tokens, train: {0}/masked/train.bin, valid: {0}/masked/train.bin}}\n",
     "targets"},
    {"bert",
     "model: {{name: bert, task: classify, layers: 1, heads: 3, width: 24, context: 9, vocab: 70, classes: 5, "
     "dropout: 0.1}}\n"
     "data: {{format: labelled, train: {0}/labelled.safetensors, valid: {0}/labelled.safetensors}}\n",
     "label"},
    {"bert",
     "model: {{name: bert, layers: 1, heads: 2, width: 12, mlp_width: 7, context: 9, vocab: 300, predictions: 2, "
     "activation: relu, norm_eps: 1e-3}}\n"
     "data: {{format: tokens, train: {0}/masked/train.bin, valid: {0}/masked/train.bin}}\n",
     "targets"},
    {"resnet",
     "model: {{name: resnet, block: basic, blocks: [1, 2], width: 6, stem: imagenet, image_size: 13, classes: 7, "
     "label_smoothing: 0.1}}\n"
     "data: {{format: synthetic, train: 400, valid: 400}}\n",
     "label"},
    {"resnet",
     "model: {{name: resnet, blocks: [1, 1], width: 5, stem: small, image_size: 15, channels: 1, classes: 4}}\n"
     "data: {{format: synthetic, train: 400, valid: 400}}\n",
     "label"},
    {"vit",
     "model: {{name: vit, layers: 2, heads: 2, width: 12, patch: 5, image_size: 15, classes: 7, dropout: 0.1, "
     "label_smoothing: 0.1}}\n"
     "data: {{format: synthetic, train: 400, valid: 400}}\n",
     "label"},
    {"vit",
     "model: {{name: vit, layers: 1, heads: 2, width: 12, patch: 5, image_size: 15, classes: 7, activation: gelu_new, "
     "norm_eps: 1e-2}}\n"
     "data: {{format: synthetic, train: 400, valid: 400}}\n",
     "label"},
    {"toy",
     "model: {{name: toy, features: 5, width: 12, classes: 7}}\n"
     "data: {{format: clouds, train: {0}/count, valid: {0}/count}}\n",
     "label"},
};

std::string with_steps(const Case& c) {
  return std::string(c.yaml) +
         "train: {{steps: 6, micro_batch: 4, global_batch: 32, deterministic: true, bucket_mb: 0.001}}\n"
         "optimizer: {{lr: 1e-2}}\n"
         "eval: {{every: 3, samples: 12}}\n"
         "checkpoint: {{every: 3}}\n";
}

Config config_of(const Case& c) {
  return parse_config(fmt::format(fmt::runtime(with_steps(c)), "none"), "test", kKnown.config);
}
std::unique_ptr<Model> model_of(const Case& c) { return make_model(config_of(c), DeviceKind::cpu, kKnown.models); }

// What the cases read, but for the text that TrainerRuns writes.
void write_data(const std::filesystem::path& folder) {
  write_text_atomically(folder / "count", "400");
  write_masked_text(folder / "masked");
  write_labelled_text(folder / "labelled.safetensors");
}

// A random model's evaluation of data.valid; writes to `file` what it gives on rank 0.
std::vector<RankResult> evaluate_as_ranks(const Config& config, EvalOptions options, int threads,
                                          const std::filesystem::path& file) {
  const std::unique_ptr<Model> model = make_model(config, DeviceKind::cpu, kKnown.models);
  const DryRun plan = dry_run(config, options.num_ranks, *model);
  const auto body = [&](RankContext& c) {
    const auto device = make_cpu_device({.num_threads = threads, .spin_pauses = 0});
    const Buffer<std::byte> arena_memory(*device, plan.arena.arena_bytes);
    Arena arena(plan.arena, arena_memory.data());
    TrainStep step({.config = config,
                    .ranks = options.num_ranks,
                    .device = *device,
                    .table = cpu_op_table(),
                    .comm = c.comm,
                    .model = *model,
                    .wait = c.wait},
                   arena);
    const auto set = [&](const ParamLayout& layout, const TensorView& values) {
      if (!values) return;
      HostFlat host(*device, values, step.compute(), c.wait);
      ThreadPool pool({});
      init_params(layout, host.values(), 1, pool);
      std::mt19937 random(7);
      for (float& x : host.values()) x += 0.2f * float(random() % 1000) / 1000;
      host.upload();
    };
    set(model->layout(), step.params());
    set(model->state_layout(), step.model_state());
    step.round_params();
    const auto source =
        find_maker(kKnown.sources, config.data.format, step.batch_layout())
            .open({.paths = {config.data.valid.paths.front()}, .split = Split::valid, .batch = step.batch_layout()});
    options.rank = c.comm.rank();
    options.wait = c.wait;
    EvalBatches batches(*source, step.batch_layout(), options);
    Evaluator evaluator(*device, c.comm, step, step.reducer().comm_stream(), batches);
    for (int times = 0; times < 2; ++times) {
      const std::optional<std::vector<double>> totals = evaluator.run(c.wait, [] { return true; });
      std::string text;
      for (const double sum : totals.value()) text += fmt::format("{:a}\n", sum);
      if (options.rank == 0) write_text_atomically(file, text);
    }
  };
  return RankProcesses(options.num_ranks, {.symmetric_bytes = plan.symmetric_bytes}, body).wait_for_all();
}

}  // namespace

TEST_CASE("contract: every model that is registered has a case here") {
  for (const ModelKind* kind : kKnown.config.models) {
    CAPTURE(kind->name);
    CHECK(std::ranges::count(kCases, kind->name, &Case::model) >= 1);
    CHECK(std::ranges::any_of(kKnown.models, [&](const ModelMaker& maker) { return maker.kind == kind; }));
  }
}

TEST_CASE("contract: a model's kind says whether its evaluation counts top-1") {
  const Case c = GENERATE_REF(from_range(std::begin(kCases), std::end(kCases)));
  CAPTURE(c.model);
  CHECK(model_kind(config_of(c)).counts_accuracy == (model_of(c)->num_eval_sums() > kTop1));
}

TEST_CASE("contract: the gradient of every parameter agrees with finite differences of the loss") {
  const Case c = GENERATE_REF(from_range(std::begin(kCases), std::end(kCases)));
  CAPTURE(c.model);
  const std::unique_ptr<Model> model = model_of(c);
  ModelRunner run(*model, 4);
  scramble(*model, run.params);
  check_gradients(*model, run, {.relative = 1e-2, .margin = 4e-3});
}

TEST_CASE("contract: an activation and an epsilon that are given are computed with") {
  const std::string_view name = GENERATE("gpt2", "bert", "vit");
  CAPTURE(name);
  const Case& c = *std::ranges::find(kCases, name, &Case::model);
  const std::vector<std::string> given = {"model.activation=gelu_new", "model.activation=gelu", "model.activation=relu",
                                          "model.activation=tanh", "model.norm_eps=0.2"};
  std::set<double> losses;
  for (const std::string& key : given) {
    const std::vector<std::string> overrides = {key, "model.dropout=0"};
    const Config config =
        parse_config(fmt::format(fmt::runtime(with_steps(c)), "none"), "test", kKnown.config, overrides);
    const std::unique_ptr<Model> model = make_model(config, DeviceKind::cpu, kKnown.models);
    ModelRunner run(*model, 3);
    scramble(*model, run.params);
    losses.insert(run.train());
  }
  CHECK(losses.size() == given.size());
}

TEST_CASE("contract: each parameter is announced once, whether gradients are written or added") {
  const Case c = GENERATE_REF(from_range(std::begin(kCases), std::end(kCases)));
  CAPTURE(c.model);
  const std::unique_ptr<Model> model = model_of(c);
  ModelRunner run(*model, 4);
  for (const bool accumulate : {false, true}) {
    run.train(accumulate);
    CHECK(run.announced.size() == model->layout().params().size());
    CHECK(std::set<int>(run.announced.begin(), run.announced.end()).size() == run.announced.size());
  }
}

TEST_CASE("contract: a second pass adds what a first one writes: gradients, sums and statistics") {
  const Case c = GENERATE_REF(from_range(std::begin(kCases), std::end(kCases)));
  CAPTURE(c.model);
  const std::unique_ptr<Model> model = model_of(c);
  ModelRunner run(*model, 4);
  for (const Param& p : model->layout().params())  // "=" must not read what was there; padding stays as it is
    std::fill_n(run.grads.begin() + p.offset, p.numel, 1e30f);
  for (const Param& p : model->state_layout().params()) std::fill_n(run.statistics.begin() + p.offset, p.numel, 1e300);
  std::ranges::fill(run.sums, 1e300);
  run.train();
  const auto grads = run.grads;
  const auto sums = run.sums, statistics = run.statistics;
  run.train(/*accumulate=*/true);
  for (size_t i = 0; i < grads.size(); ++i)
    REQUIRE(run.grads[i] == Approx(2 * double(grads[i])).epsilon(1e-5).margin(1e-6));
  for (size_t i = 0; i < kNumTrainSums; ++i) CHECK(run.sums[i] == 2 * sums[i]);
  for (size_t i = 0; i < statistics.size(); ++i) CHECK(run.statistics[i] == 2 * statistics[i]);
}

TEST_CASE("contract: targets below 0 are neither added nor counted, in training and in evaluation") {
  const Case c = GENERATE_REF(from_range(std::begin(kCases), std::end(kCases)));
  CAPTURE(c.model);
  const std::unique_ptr<Model> model = model_of(c);
  ModelRunner run(*model, 5);
  const std::span<int32_t> targets = run.batch.values<int32_t>(c.targets);
  REQUIRE(int64_t(targets.size()) == 5 * model->targets_per_sample());
  const double all = run.train();
  CHECK(run.sums[kCountedTargets] == double(targets.size()));
  for (size_t i = 1; i < targets.size(); i += 2) targets[i] = -1 - int32_t(i);
  const double counted = double((targets.size() + 1) / 2);
  const double half = run.train();
  CHECK(run.sums[kCountedTargets] == counted);
  CHECK(half < all);
  CHECK(half > 0);
  run.evaluate();
  CHECK(run.total(kCountedTargets) == counted);
  for (int s = kTop1; s < model->num_eval_sums(); ++s) CHECK((run.total(s) >= 0 && run.total(s) <= counted));
  std::ranges::fill(targets, -1);
  CHECK(run.train() == 0.0);
  CHECK(run.sums[kCountedTargets] == 0.0);
  CHECK(std::ranges::all_of(run.grads, [](float g) { return g == 0.0f; }));
}

TEST_CASE("contract: the plan is what a run takes, and nothing is allocated after the first step") {
  const Case c = GENERATE_REF(from_range(std::begin(kCases), std::end(kCases)));
  const bool deterministic = GENERATE(false, true);  // micro-steps add to the same gradients, or to some of their own
  CAPTURE(c.model, deterministic);
  Config config = config_of(c);
  config.train.deterministic = deterministic;
  StepRunner run(config, make_cpu_device({.num_threads = 2}), cpu_op_table(), kKnown.models);
  run.train(1);
  const int64_t allocations = run.device->num_allocations();
  CHECK(run.device->memory_info().in_use_bytes == run.plan.device_bytes());
  for (int64_t s = 2; s <= 4; ++s) run.train(s);
  CHECK(run.device->num_allocations() == allocations);
}

TEST_CASE("contract: a skipped step changes neither parameters nor state; the next one changes both") {
  const Case c = GENERATE_REF(from_range(std::begin(kCases), std::end(kCases)));
  CAPTURE(c.model);
  StepRunner run(config_of(c), make_cpu_device({.num_threads = 2}), cpu_op_table(), kKnown.models);
  CHECK(run.train(1).update == kApplied);
  float& weight = run.step.params().as<float>()[run.model->layout().params().back().offset];
  const float before = std::exchange(weight, INFINITY);
  const std::vector<float> params = run.params(), state = run.model_state();
  CHECK(run.train(2).update == kNotFinite);
  CHECK(run.params() == params);
  CHECK(run.model_state() == state);
  weight = before;
  CHECK(run.train(3).update == kApplied);
  CHECK(run.params() != params);
  CHECK((state.empty() || run.model_state() != state));
}

TEST_CASE("contract: 1, 2 and 4 ranks, and a run in pieces on other numbers of ranks, give the same bits") {
  const Case c = GENERATE_REF(from_range(std::begin(kCases), std::end(kCases)));
  CAPTURE(c.model);
  const TrainerRuns runs(with_steps(c), kKnown);
  write_data(runs.folder.path);
  const auto model_bytes = [&](const std::string& name, int64_t step) {
    return read_text(runs.checkpoint(name, step) / kModelFile);
  };
  const auto losses = [&](const std::string& name) {
    std::string text;
    for (const nlohmann::json& r : runs.metrics(name)) {
      text += fmt::format("{} {} {}", r["type"].get<std::string>(), r["step"].get<int64_t>(), r["loss"].dump());
      text += fmt::format(" {} {}\n", r.value("top1", 0.0), r.value("top5", 0.0));
    }
    return text;
  };
  REQUIRE(failures(runs.run("1", 1, {}, {})) == "");
  for (const int ranks : {2, 4}) {
    CAPTURE(ranks);
    const std::string name = std::to_string(ranks);
    REQUIRE(failures(runs.run(name, ranks, {}, {})) == "");
    CHECK(losses(name) == losses("1"));
    CHECK(model_bytes(name, 6) == model_bytes("1", 6));
  }
  REQUIRE(failures(runs.run("pieces", 2, {}, {.stop_after = 2})) == "");
  REQUIRE(failures(runs.run("pieces", 4, {}, {.resume = "auto", .stop_after = 4})) == "");
  REQUIRE(failures(runs.run("pieces", 1, {}, {.resume = "auto"})) == "");
  CHECK(losses("pieces") == losses("1"));
  CHECK(model_bytes("pieces", 6) == model_bytes("1", 6));
}

TEST_CASE("contract: evaluation has the same bits for every micro-batch, number of ranks and of threads") {
  const Case c = GENERATE_REF(from_range(std::begin(kCases), std::end(kCases)));
  const char* precision = GENERATE("fp32", "bf16", "fp16");
  CAPTURE(c.model, precision);
  constexpr int64_t kSamples = 23;
  const TrainerRuns runs(with_steps(c), kKnown);
  write_data(runs.folder.path);
  const auto totals = [&](int64_t micro_batch, int ranks, int threads) {
    Config config = parse_config(fmt::format(fmt::runtime(runs.base), runs.folder.path.string()), "test", kKnown.config,
                                 std::vector<std::string>{fmt::format("train.precision={}", precision)});
    config.train.micro_batch = micro_batch;
    config.train.global_batch = micro_batch * ranks;
    config.train.deterministic = false;  // which lanes there were has no meaning here
    const std::filesystem::path file = runs.path(fmt::format("{}-{}-{}", micro_batch, ranks, threads));
    REQUIRE(failures(evaluate_as_ranks(config, {.samples = kSamples, .num_ranks = ranks}, threads, file)) == "");
    return read_text(file);
  };
  const std::string expected = totals(8, 1, 1);
  const int64_t least = least_micro_batch(config_of(c));
  std::vector<int64_t> micro_batches = {8};
  if (cpu::gemm_rows_are_independent()) micro_batches.insert(micro_batches.end(), {least, 2, 3});
  for (const int64_t micro_batch : micro_batches)
    for (const int ranks : {1, 2, 5}) {
      CAPTURE(micro_batch, ranks);
      CHECK(totals(micro_batch, ranks, 1 + ranks % 3) == expected);
    }
}

TEST_CASE("contract: a saved model loads, and saves to the same bytes") {
  const Case c = GENERATE_REF(from_range(std::begin(kCases), std::end(kCases)));
  CAPTURE(c.model);
  const std::unique_ptr<Model> model = model_of(c);
  ModelRunner run(*model, 4);
  scramble(*model, run.params);
  for (float& x : run.state) x += 0.5f;
  for (const Param& p : model->state_layout().params()) {  // padding is not saved
    const int64_t end = model->state_layout().chunk_begin()[size_t(p.first_chunk + p.num_chunks)];
    std::fill(run.state.begin() + p.offset + p.numel, run.state.begin() + end, 0.0f);
  }
  const TemporaryFolder folder;
  const auto save = [&](const char* name, std::vector<float>& params, std::vector<float>& state) {
    const ModelFlats flats = {model->layout(), params.data(), model->state_layout(), state.data()};
    return write_checkpoint(folder.path / name, {.model = flats, .optimizer = {}, .state = {}}, 1).checkpoint.path;
  };
  const std::filesystem::path first = save("first", run.params, run.state);
  std::vector<float> params, state;
  const auto notes_of_loading = [&](const std::filesystem::path& from) {
    params.assign(run.params.size(), 9.0f);
    state.assign(run.state.size(), 9.0f);
    const LoadReport report = load_model(from, {model->layout(), params.data(), model->state_layout(), state.data()});
    CHECK(params == run.params);
    CHECK(state == run.state);
    CHECK(report.anew.empty());
    return report.notes;
  };
  // As a model is saved that is wrapped.
  std::vector<TensorToSave> wrapped = tensors_to_save(model->layout(), run.params.data(), "_orig_mod.module.");
  for (const TensorToSave& t : tensors_to_save(model->state_layout(), run.state.data(), "_orig_mod.module."))
    wrapped.push_back(t);
  write_safetensors(folder.path / "wrapped", wrapped);
  const std::vector<std::string> notes = notes_of_loading(folder.path / "wrapped");
  CHECK((notes.size() == 1 && notes[0].ends_with("its names are read without \"_orig_mod.module.\"")));
  CHECK(notes_of_loading(first).empty());
  CHECK(read_text(save("second", params, state) / kModelFile) == read_text(first / kModelFile));
}
