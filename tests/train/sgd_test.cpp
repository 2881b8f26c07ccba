// SGD against PyTorch's, whose parameters sgd_torch.py has written down.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/op_table.h"
#include "runtime/base/fs.h"
#include "runtime/optim/optimizer.h"

using namespace ddp;

namespace {

constexpr int kSteps = 20;

// As sgd_torch.py: in [-1, 1) and exact in f32. Step 0: the initial parameters; later ones: gradients.
float value(size_t tensor, size_t index, int step) {
  const uint64_t x = tensor * 7919 + index * 104729 + uint64_t(step) * 1299709;
  return float(uint32_t(x * 2654435761) >> 16) / 32768.0f - 1.0f;
}

ParamLayout make_layout() {
  ParamLayout layout;
  layout.add("a", {7}, false);
  layout.add("b", {5, 3}, true);
  layout.add("c", {33}, false);
  return layout;
}

void fill(const ParamLayout& layout, const Buffer<float>& flat, int step) {
  std::fill_n(flat.data(), flat.count(), 0.0f);
  for (size_t t = 0; t < layout.params().size(); ++t)
    for (int64_t i = 0; i < layout.params()[t].numel; ++i)
      flat.data()[layout.params()[t].offset + i] = value(t, size_t(i), step);
}

// The largest difference from `want` by tensor, as a part of that tensor's largest magnitude.
double difference(const ParamLayout& layout, const Buffer<float>& flat, const nlohmann::json& want) {
  double worst = 0;
  for (size_t t = 0; t < layout.params().size(); ++t) {
    const Param& p = layout.params()[t];
    const auto values = want[t].get<std::vector<double>>();
    double largest = 0, apart = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      largest = std::max(largest, std::abs(values[i]));
      apart = std::max(apart, std::abs(double(flat.data()[p.offset + int64_t(i)]) - values[i]));
    }
    worst = std::max(worst, apart / largest);
  }
  return worst;
}

}  // namespace

TEST_CASE("sgd, fed the same gradients and rates, has PyTorch's parameters") {
  const nlohmann::json torch = nlohmann::json::parse(read_text(DDP_SGD_TORCH));
  REQUIRE(torch["runs"].size() == 6);
  const ParamLayout layout = make_layout();
  const std::unique_ptr<Device> device = make_cpu_device({});
  for (const nlohmann::json& run : torch["runs"]) {
    OptimizerConfig config;
    config.name = OptimizerName::sgd;
    config.momentum = run["momentum"];
    config.nesterov = run["nesterov"];
    config.weight_decay = run["weight_decay"];
    CAPTURE(config.momentum, config.nesterov, config.weight_decay);
    Buffer<float> params(*device, layout.flat_elements()), grads(*device, layout.flat_elements());
    Buffer<int64_t> chunk_begin(*device, layout.num_chunks() + 1);
    std::copy(layout.chunk_begin().begin(), layout.chunk_begin().end(), chunk_begin.data());
    StepScalars scalars{.state = {}, .lr = 0, .grad_scale = 1, .update = kApplied};
    fill(layout, params, 0);
    Stream stream(*device, StreamRole::compute);
    const auto optimizer = make_optimizer(*device, layout, config, stream);
    CHECK(optimizer->states().size() == (config.momentum == 0.0 ? 0 : 1));
    for (int step = 1; step <= kSteps; ++step) {
      fill(layout, grads, step);
      scalars.lr = float(0.1 / step);
      optimizer->update({.table = &cpu_op_table(), .stream = &stream}, {.master = params.view(), .rounded = {}},
                        {.flat = grads.view(), .chunk_begin = chunk_begin.view()}, &scalars);
      stream.synchronize({});
      if (const auto want = run["after"].find(std::to_string(step)); want != run["after"].end())
        CHECK(difference(layout, params, *want) < 1e-6);
    }
    CHECK(difference(layout, params, run["after"]["20"]) < 1e-6);
  }
}
