// BERT's own: sizes as published, names and shapes as Hugging Face's, padding, empty places, dropout, recomputation,
// memory.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>

#include "models/bert/bert.h"
#include "models/options_registry.h"
#include "models/registry.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/tensor_map.h"
#include "runtime/state/saved_view.h"
#include "runtime/train/dry_run.h"
#include "tests/support/gradient_check.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;
using namespace ddp::test;

namespace {

constexpr int64_t kContext = 9, kVocab = 50;

bert::Options tiny(bert::Task task, double dropout = 0.0) {
  return {.task = task,
          .layers = 2,
          .heads = 2,
          .width = 24,
          .context = kContext,
          .positions = 11,
          .vocab = kVocab,
          .predictions = 3,
          .classes = 4,
          .dropout = dropout};
}

constexpr bert::Task kTasks[] = {bert::Task::mlm, bert::Task::classify};

Config config_of(const std::vector<std::string>& overrides) {
  return parse_config("model: {name: bert}\ndata: {format: tokens, train: none}\n", "test", config_registry(),
                      overrides);
}
std::unique_ptr<Model> model_of(const std::vector<std::string>& overrides) { return make_model(config_of(overrides)); }

int64_t rows_of(const Model& model, const std::string& name) {
  const auto p = std::ranges::find(model.layout().params(), name, &Param::name);
  REQUIRE(p != model.layout().params().end());
  return p->shape[0];
}

}  // namespace

TEST_CASE("bert: the published sizes") {
  // BertForMaskedLM and BertForSequenceClassification of two classes.
  CHECK(model_of({"model.preset=bert-base"})->layout().num_parameters() == 109'514'298);
  CHECK(model_of({"model.preset=bert-base", "model.task=classify"})->layout().num_parameters() == 109'483'778);
  CHECK(model_of({"model.preset=bert-large", "model.task=classify"})->layout().num_parameters() == 335'143'938);
  CHECK(model_of({"model.preset=bert-tiny", "model.task=classify"})->layout().num_parameters() == 4'386'178);
  // Its encoder with the pooler is 22,713,216.
  CHECK(model_of({"model.preset=minilm-l6", "model.task=classify"})->layout().num_parameters() == 22'713'986);
  CHECK(rows_of(*model_of({"model.preset=bert-base"}), "bert.embeddings.word_embeddings.weight") == 30528);
}

TEST_CASE("bert: 20 places for masked tokens at 128 and 76 at 512, and as many positions as the context needs") {
  for (const auto& [context, predictions, positions] :
       {std::tuple(128, 20, 512), std::tuple(512, 76, 512), std::tuple(1024, 152, 1024), std::tuple(3, 1, 512)}) {
    const auto options = options_of<bert::Options>(config_of({fmt::format("model.context={}", context)}));
    CHECK(options.predictions == predictions);
    CHECK(options.positions == positions);
  }
}

TEST_CASE("bert: saved names and shapes are Hugging Face's") {
  const auto saved = [](const Model& model) {
    std::map<std::string, std::string> shapes;
    for (const Param& p : model.layout().params())
      for (const NamedView& t : saved_tensors(model.layout(), p)) shapes[t.name] = t.view.shape.text();
    return shapes;
  };
  auto masked = saved(*model_of({"model.preset=bert-base"}));
  CHECK(masked.size() == 5 + 12 * 16 + 5);
  CHECK(masked["bert.embeddings.word_embeddings.weight"] == "[30522, 768]");
  CHECK(masked["bert.embeddings.position_embeddings.weight"] == "[512, 768]");
  CHECK(masked["bert.embeddings.token_type_embeddings.weight"] == "[2, 768]");
  CHECK(masked["bert.embeddings.LayerNorm.bias"] == "[768]");
  CHECK(masked["bert.encoder.layer.0.attention.self.query.weight"] == "[768, 768]");
  CHECK(masked["bert.encoder.layer.11.attention.self.value.bias"] == "[768]");
  CHECK(masked["bert.encoder.layer.3.attention.output.dense.weight"] == "[768, 768]");
  CHECK(masked["bert.encoder.layer.3.intermediate.dense.weight"] == "[3072, 768]");
  CHECK(masked["bert.encoder.layer.3.output.dense.weight"] == "[768, 3072]");
  CHECK(masked["bert.encoder.layer.11.output.LayerNorm.weight"] == "[768]");
  CHECK(masked["cls.predictions.bias"] == "[30522]");
  CHECK(masked["cls.predictions.transform.dense.weight"] == "[768, 768]");
  CHECK(masked["cls.predictions.transform.LayerNorm.weight"] == "[768]");
  auto classes = saved(*model_of({"model.preset=bert-base", "model.task=classify", "model.classes=6"}));
  CHECK(classes.size() == 5 + 12 * 16 + 4);
  CHECK(classes["bert.pooler.dense.weight"] == "[768, 768]");
  CHECK(classes["classifier.weight"] == "[6, 768]");
}

TEST_CASE("bert: weights load from files of the names that others use, and the other task's head is passed over") {
  const bert::Bert masked(tiny(bert::Task::mlm)), classes(tiny(bert::Task::classify));
  ModelRunner from(masked, 1);
  scramble(masked, from.params);
  const std::vector<float> some(24 * 64, 0.5f);
  std::vector<TensorToSave> tensors = tensors_to_save(masked.layout(), from.params.data(), "");
  const auto replace = [](std::string& name, std::string_view what, std::string_view by) {
    if (const size_t at = name.find(what); at != std::string::npos) name.replace(at, what.size(), by);
  };
  for (TensorToSave& t : tensors) {
    replace(t.name, "bert.", "");
    replace(t.name, "LayerNorm.weight", "LayerNorm.gamma");
    replace(t.name, "LayerNorm.bias", "LayerNorm.beta");
  }
  const std::pair<const char*, std::vector<int64_t>> beside[] = {
      {"embeddings.position_ids", {1, 11}}, {"cls.seq_relationship.weight", {2, 24}},
      {"cls.seq_relationship.bias", {2}},   {"pooler.dense.weight", {24, 24}},
      {"pooler.dense.bias", {24}},
  };
  for (const auto& [name, shape] : beside) tensors.push_back({name, shape, some.data()});
  const std::pair<const char*, const char*> copies[] = {
      {"cls.predictions.decoder.weight", "embeddings.word_embeddings.weight"},
      {"cls.predictions.decoder.bias", "cls.predictions.bias"},
  };
  for (const auto& [copy, original] : copies) {
    TensorToSave tensor = *std::ranges::find(tensors, original, &TensorToSave::name);
    tensor.name = copy;
    tensors.push_back(tensor);
  }
  const TemporaryFolder folder;
  const std::filesystem::path file = folder.path / "model.safetensors";
  write_safetensors(file, tensors);

  const auto load = [&](const Model& model, std::vector<float>& params) {
    return load_model(file, {model.layout(), params.data(), model.state_layout(), nullptr}).anew;
  };
  std::vector<float> loaded(from.params.size(), 9.0f);
  CHECK(load(masked, loaded).empty());
  CHECK(loaded == from.params);

  ModelRunner into(classes, 1);
  const std::vector<float> fresh = into.params;
  CHECK(load(classes, into.params) == std::vector<std::string>{"classifier.bias is missing, the model's is [4]",
                                                               "classifier.weight is missing, the model's is [4, 24]"});
  for (const Param& p : classes.layout().params()) {
    CAPTURE(p.name);
    const std::vector<float> now(into.params.begin() + p.offset, into.params.begin() + p.offset + p.numel),
        before(fresh.begin() + p.offset, fresh.begin() + p.offset + p.numel);
    if (p.name.starts_with("classifier"))
      CHECK(now == before);
    else if (p.name.starts_with("bert.pooler"))
      CHECK(now == std::vector<float>(now.size(), 0.5f));
    else
      CHECK(now != before);
  }
}

TEST_CASE("bert: the gradient of every parameter agrees with finite differences of the loss") {
  const bert::Task task = GENERATE(from_range(std::begin(kTasks), std::end(kTasks)));
  const double dropout = GENERATE(0.0, 0.2);
  CAPTURE(int(task), dropout);
  const bert::Bert model(tiny(task, dropout));
  ModelRunner run(model, 3);
  scramble(model, run.params);
  check_gradients(model, run, {.relative = 6e-3, .margin = 3e-3});
}

TEST_CASE("bert: gradients are announced once each, nearly in the order of the layout") {
  for (const bert::Task task : kTasks) {
    const bert::Bert model(tiny(task));
    ModelRunner run(model, 2);
    run.train();
    std::vector<int> sorted = run.announced;
    std::ranges::sort(sorted);
    CHECK(sorted.size() == model.layout().params().size());
    CHECK(std::ranges::adjacent_find(sorted) == sorted.end());
    for (size_t i = 0; i < sorted.size(); ++i) CHECK(std::abs(run.announced[i] - sorted[i]) <= 3);
  }
}

TEST_CASE("bert: every recomputation gives the same bits") {
  for (const bert::Task task : kTasks) {
    std::vector<float> kept;
    for (const auto mode : {TransformerRecompute::none, TransformerRecompute::gelu, TransformerRecompute::gelu_ln,
                            TransformerRecompute::block}) {
      bert::Options options = tiny(task, 0.1);
      options.recompute = mode;
      const bert::Bert model(options);
      ModelRunner run(model, 3);
      run.train();
      if (kept.empty()) kept = run.grads;
      CAPTURE(int(task), int(mode));
      CHECK(run.grads == kept);
    }
  }
}

TEST_CASE("bert: the number of threads changes no bit of loss and gradients") {
  for (const bert::Task task : kTasks) {
    bert::Options options = tiny(task, 0.1);
    options.width = 96, options.context = options.positions = 33, options.predictions = 5, options.vocab = 300;
    const bert::Bert model(options);
    std::vector<float> grads;
    for (const int threads : {1, 2, 3, 5}) {
      ModelRunner run(model, 3, threads);
      run.train();
      if (grads.empty()) grads = run.grads;
      CHECK(run.grads == grads);
    }
  }
}

TEST_CASE("bert: a masked model starts as wrong as a uniform guess, and evaluation equals training's loss") {
  const bert::Bert model(tiny(bert::Task::mlm));
  ModelRunner run(model, 2);
  const double trained = run.train();
  const double counted = run.sums[kCountedTargets];
  CHECK(trained / counted == Approx(std::log(double(kVocab))).epsilon(0.02));
  CHECK(run.evaluate() == trained);
}

TEST_CASE("bert: padding rows of the vocabulary get no gradient, of word embedding and bias") {
  const bert::Bert model(tiny(bert::Task::mlm));
  ModelRunner run(model, 2);
  std::ranges::fill(run.grads, NAN);
  run.train();
  const Param &bias = model.layout().params().front(), &word = model.layout().params().back();
  REQUIRE(bias.name == "cls.predictions.bias");
  REQUIRE(word.name == "bert.embeddings.word_embeddings.weight");
  for (int64_t i = kVocab; i < 64; ++i) CHECK(run.grads[size_t(bias.offset + i)] == 0.0f);
  for (int64_t i = kVocab * 24; i < word.numel; ++i) REQUIRE(run.grads[size_t(word.offset + i)] == 0.0f);
}

TEST_CASE("bert: a place without a position counts for nothing") {
  const bert::Bert model(tiny(bert::Task::mlm));
  ModelRunner run(model, 2);
  scramble(model, run.params);
  const std::span<int32_t> positions = run.batch.values<int32_t>("positions"),
                           targets = run.batch.values<int32_t>("targets");
  std::ranges::copy(std::vector<int32_t>{1, 4, -1, 0, 3, 8}, positions.begin());
  targets[2] = -1;
  const double loss = run.train();
  CHECK(run.sums[kCountedTargets] == 5);
  const std::vector<float> grads = run.grads;
  positions[2] = 6;  // a row that nothing is to be predicted at
  CHECK(run.train() == loss);
  for (size_t i = 0; i < grads.size(); ++i) REQUIRE(run.grads[i] == Approx(grads[i]).epsilon(1e-5).margin(1e-7));
}

TEST_CASE("bert: what lies past a text's length changes neither loss nor gradients") {
  const bert::Bert model(tiny(bert::Task::classify));
  ModelRunner run(model, 3);
  scramble(model, run.params);
  const std::vector<int32_t> lengths = {1, int32_t(kContext), 4};
  std::ranges::copy(lengths, run.batch.values<int32_t>("lengths").begin());
  const double loss = run.train(), evaluated = run.evaluate();
  const std::vector<float> grads = run.grads;
  for (size_t i = 0; i < lengths.size(); ++i)
    for (int32_t t = lengths[i]; t < kContext; ++t) {
      run.batch.sample<int32_t>("tokens", int64_t(i))[size_t(t)] = (t * 7) % kVocab;
      run.batch.sample<int32_t>("types", int64_t(i))[size_t(t)] ^= 1;
    }
  run.batch.derive();
  CHECK(run.evaluate() == evaluated);
  CHECK(run.train() == loss);
  // The word embedding is summed by token, whose other rows now have zeros added: -0 may become +0.
  for (size_t i = 0; i < grads.size(); ++i) REQUIRE(run.grads[i] == grads[i]);
  run.batch.sample<int32_t>("tokens", 2)[3] += 1;
  CHECK(run.train() != loss);
}

TEST_CASE("bert: a text in a longer context has the same loss, but for rounding") {
  bert::Options options = tiny(bert::Task::classify);
  const bert::Bert shorter(options);
  options.context = 11;
  const bert::Bert longer(options);
  ModelRunner one(shorter, 3), other(longer, 3);
  scramble(shorter, one.params);
  other.params = one.params;
  for (int64_t i = 0; i < 3; ++i) {
    for (const char* name : {"tokens", "types"})
      std::ranges::copy(one.batch.sample<int32_t>(name, i), other.batch.sample<int32_t>(name, i).begin());
    for (const char* name : {"lengths", "label"})
      other.batch.values<int32_t>(name)[size_t(i)] = one.batch.values<int32_t>(name)[size_t(i)];
  }
  CHECK(other.evaluate() == Approx(one.evaluate()).epsilon(1e-6));
}

TEST_CASE("bert: dropout depends on the step and the sample's id alone") {
  for (const bert::Task task : kTasks) {
    const bert::Bert model(tiny(task, 0.3));
    ModelRunner run(model, 2);
    scramble(model, run.params);
    const double first = run.train();
    CHECK(run.train() == first);
    run.attempted_step = 2;
    CHECK(run.train() != first);
    run.attempted_step = 1;
    for (const BatchLayout::Field& field : run.batch.layout().fields()) {  // the two samples change places
      if (field.input.derive != nullptr) continue;
      const auto a = run.batch.sample<int32_t>(field.input.name, 0), b = run.batch.sample<int32_t>(field.input.name, 1);
      std::swap_ranges(a.begin(), a.end(), b.begin());
    }
    run.batch.derive();
    CHECK(run.train() == Approx(first).epsilon(1e-12));
  }
}

TEST_CASE("bert: the largest micro-batch of BERT-base on an 11 GB card is what models/bert/README.md says") {
  struct Row {
    const char *precision, *context, *recompute;
    int64_t largest;
  };
  const Row rows[] = {
      {"fp32", "512", "none", 27},    {"fp16", "512", "none", 55},     {"fp32", "128", "none", 111},
      {"fp16", "128", "none", 220},   {"fp32", "512", "gelu", 36},     {"fp16", "512", "gelu", 72},
      {"fp32", "128", "gelu", 146},   {"fp16", "128", "gelu", 289},    {"fp32", "512", "gelu+ln", 42},
      {"fp16", "512", "gelu+ln", 85}, {"fp32", "128", "gelu+ln", 171}, {"fp16", "128", "gelu+ln", 341},
      {"fp32", "512", "block", 184},  {"fp16", "512", "block", 367},   {"fp32", "128", "block", 737},
      {"fp16", "128", "block", 1471},
  };
  for (const Row& row : rows) {
    CAPTURE(row.precision, row.context, row.recompute);
    const Config config =
        config_of({"model.preset=bert-base", std::string("model.context=") + row.context,
                   std::string("train.precision=") + row.precision, std::string("train.recompute=") + row.recompute});
    const std::unique_ptr<Model> model = make_model(config, DeviceKind::cuda);
    CHECK(largest_micro_batch(config, usable_bytes(int64_t(11) << 30, DeviceKind::cuda), *model, DeviceKind::cuda) ==
          row.largest);
  }
}
