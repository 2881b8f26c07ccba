// The gradient of a model's parameters against finite differences of its loss.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <vector>

#include "tests/support/live_elements.h"
#include "tests/support/model_runner.h"

namespace ddp::test {

// Larger values than the initial ones, biases and norms not at their neutral ones: every path matters. Padding stays.
inline void scramble(const Model& model, std::vector<float>& params) {
  std::mt19937 random(11);
  std::normal_distribution<float> normal(0.0f, 0.2f);
  for (const Param& p : model.layout().params())
    for (const size_t at : live_elements(p)) params[at] += normal(random);
}

struct GradientTolerance {
  double relative, margin;
};

// Of each parameter by itself, along one direction.
inline void check_gradients(const Model& model, ModelRunner& run, GradientTolerance tolerance) {
  run.train();
  const std::vector<float> grads = run.grads, params = run.params;
  std::mt19937 random(12);
  std::normal_distribution<double> normal;
  const auto rms_of = [&](const Param& p) {
    double squares = 0;
    for (const size_t at : live_elements(p)) squares += std::pow(grads[at], 2);
    return std::sqrt(squares / double(p.live.numel()));
  };
  double largest_rms = 0;
  for (const Param& p : model.layout().params()) largest_rms = std::max(largest_rms, rms_of(p));
  for (const Param& p : model.layout().params()) {
    CAPTURE(p.name);
    const std::vector<size_t> at = live_elements(p);
    const size_t n = at.size();
    // Along the gradient mixed with noise, so that the change is far from zero and every element takes part. A bias
    // before a batch norm has no gradient: then along noise alone.
    const double rms = std::max(rms_of(p), 1e-3 * largest_rms);
    std::vector<double> direction(n);
    double norm = 0, expected = 0;
    for (size_t i = 0; i < n; ++i) {
      direction[i] = double(grads[at[i]]) / rms + normal(random);
      norm += direction[i] * direction[i];
    }
    norm = std::sqrt(norm);
    for (size_t i = 0; i < n; ++i) expected += double(grads[at[i]]) * direction[i] / norm;
    constexpr double kStep = 2e-3;
    const auto loss_at = [&](double step) {
      for (size_t i = 0; i < n; ++i) run.params[at[i]] = float(double(params[at[i]]) + step * direction[i] / norm);
      const double loss = run.train();
      run.params = params;
      return loss;
    };
    const double measured = (loss_at(kStep) - loss_at(-kStep)) / (2 * kStep);
    CHECK(measured == Approx(expected).epsilon(tolerance.relative).margin(tolerance.margin));
  }
}

}  // namespace ddp::test
