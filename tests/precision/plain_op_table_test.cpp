// The yardstick itself: in double its gradients are those of its loss, in f32 it agrees with the CPU backend, and in 16
// bits it is wrong by about what rounding costs.
#include <catch2/catch.hpp>
#include <random>
#include <utility>

#include "models/bert/bert.h"
#include "models/gpt2/gpt2.h"
#include "models/resnet/resnet.h"
#include "tests/precision/errors.h"
#include "tests/precision/plain_op_table.h"
#include "tests/support/learnable_batch.h"
#include "tests/support/live_elements.h"

using namespace ddp;
using namespace ddp::test;

namespace {

struct Case {
  const char* name;
  std::unique_ptr<Model> model;
  std::unique_ptr<BatchLayout> layout;
  HostBatch batch;
  double most_roundings;  // that an error is in 16 bits, where a ReLU's input near 0 may change sides
};

Case make_case(const char* name, std::unique_ptr<Model> model, int64_t samples, double most_roundings) {
  auto layout = std::make_unique<BatchLayout>(model->inputs(), samples);
  HostBatch batch(*layout);
  fill_random(batch, 3);
  return {name, std::move(model), std::move(layout), std::move(batch), most_roundings};
}

// Small, odd, with padding, and dropout everywhere.
std::vector<Case> cases() {
  std::vector<Case> out;
  out.push_back(make_case("gpt2",
                          std::make_unique<gpt2::Gpt2>(gpt2::Options{
                              .layers = 2, .heads = 2, .width = 24, .context = 9, .vocab = 50, .dropout = 0.2f}),
                          3, 100));
  for (const bert::Task task : {bert::Task::mlm, bert::Task::classify})
    out.push_back(make_case(task == bert::Task::mlm ? "bert" : "bert, classes",
                            std::make_unique<bert::Bert>(bert::Options{.task = task,
                                                                       .layers = 2,
                                                                       .heads = 3,
                                                                       .width = 24,
                                                                       .context = 9,
                                                                       .positions = 11,
                                                                       .vocab = 50,
                                                                       .predictions = 3,
                                                                       .classes = 5,
                                                                       .dropout = 0.2f}),
                            3, 100));
  for (const resnet::Stem stem : {resnet::Stem::imagenet, resnet::Stem::small})
    out.push_back(make_case(
        stem == resnet::Stem::small ? "resnet, small stem" : "resnet",
        std::make_unique<resnet::ResNet>(resnet::Options{.block = resnet::BlockKind::bottleneck,
                                                         .blocks = {1, 1},
                                                         .width = 5,
                                                         .stem = stem,
                                                         .image = {.size = 13, .classes = 7, .label_smoothing = 0.1}},
                                         /*pixel_channels=*/4),
        6, 400));
  return out;
}

}  // namespace

TEST_CASE("plain ops in f64: a model's gradients are the finite differences of its loss") {
  const std::unique_ptr<Device> device = make_cpu_device({});
  const Backend f64{*device, plain_op_table(), DType::f64};
  for (const auto& [name, model, layout, batch, _] : cases()) {
    Vec params = scrambled_params(*model);
    const Vec grads = train_pass(f64, *model, params, batch, 1024.0f).grads;
    std::mt19937 random(12);
    for (const Param& p : model->layout().params()) {
      const std::vector<size_t> live = live_elements(p);
      for (int probe = 0; probe < 3; ++probe) {
        const size_t i = live[random() % live.size()];
        CAPTURE(name, p.name, i - size_t(p.offset));
        const auto loss_at = [&](double x) {
          const double before = std::exchange(params[i], x);
          const double loss = train_pass(f64, *model, params, batch, 1.0f).loss;
          params[i] = before;
          return loss;
        };
        constexpr double kStep = 1e-6;  // so that hardly a ReLU is at 0 in between
        const double slope = (loss_at(params[i] + kStep) - loss_at(params[i] - kStep)) / (2 * kStep);
        CHECK(grads[i] == Approx(slope).epsilon(1e-5).margin(2e-9));
      }
    }
  }
}

TEST_CASE("plain ops in f32: a model's loss and gradients are the CPU backend's, within f32's rounding") {
  const std::unique_ptr<Device> device = make_cpu_device({});
  for (const auto& [name, model, layout, batch, _] : cases()) {
    const Vec params = scrambled_params(*model);
    const ModelPass plain = train_pass({*device, plain_op_table(), DType::f32}, *model, params, batch, 1.0f);
    const ModelPass cpu = train_pass({*device, cpu_op_table(), DType::f32}, *model, params, batch, 1.0f);
    CHECK(cpu.loss == Approx(plain.loss).epsilon(1e-6));
    for (const TensorError& e : gradient_errors(model->layout(), cpu.grads, plain.grads)) {
      CAPTURE(name, e.name);
      CHECK(e.error < 5e-6);
    }
  }
}

TEST_CASE("plain ops in 16 bits: gradients are off by about a rounding or more, and by less than some hundred") {
  const std::unique_ptr<Device> device = make_cpu_device({});
  for (const auto& [name, model, layout, batch, most_roundings] : cases())
    for (const DType type : {DType::f16, DType::bf16}) {
      const Vec params = rounded(scrambled_params(*model), type);
      const ModelPass exact = train_pass({*device, plain_op_table(), DType::f64}, *model, params, batch, 1024.0f);
      const ModelPass naive = train_pass({*device, plain_op_table(), type}, *model, params, batch, 1024.0f);
      for (const TensorError& e : gradient_errors(model->layout(), naive.grads, exact.grads)) {
        CAPTURE(name, dtype_name(type), e.name, e.error / rounding(type));
        CHECK(e.error > 0.2 * rounding(type));
        CHECK(e.error < most_roundings * rounding(type));
      }
    }
}
