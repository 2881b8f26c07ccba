// What the checkpoint tests share: files of given bytes, a small model.
#pragma once

#include <catch2/catch.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/fs.h"
#include "runtime/checkpoint/checkpoint.h"
#include "tests/support/safetensors_bytes.h"
#include "tests/support/temporary_folder.h"

namespace ddp::test {

inline void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  write_all(create_output(path), std::as_bytes(std::span(bytes)), path);
}

inline void flip_bit(const std::filesystem::path& path, size_t byte) {
  std::string bytes = read_text(path);
  bytes.at(byte) ^= 4;
  write_bytes(path, bytes);
}

// Three parameters with odd sizes, a padded vocabulary among them, a state, and the flat buffers of a run.
struct SmallRun {
  ParamLayout layout, state_layout;
  std::vector<float> params, model_state, exp_avg, exp_avg_sq;
  TrainingState state;

  explicit SmallRun(float start = 0.25f) {
    layout.add("ln_f.weight", {7}, false);
    layout.add("h.0.attn.c_attn.weight", {5, 33}, true);
    layout.add("wte.weight", {16, 3}, true, {}, {13, 3});
    state_layout.add("ln_0.running_mean", {7}, false);
    const auto fill = [&](std::vector<float>& flat, const ParamLayout& of) {
      flat.assign(size_t(of.flat_elements()), 0.0f);
      for (const Param& p : of.params())
        for (int64_t i = 0; i < p.live.numel(); ++i) flat[size_t(p.offset + i)] = start += 1.1f;
    };
    for (auto* buffer : {&params, &exp_avg, &exp_avg_sq}) fill(*buffer, layout);
    fill(model_state, state_layout);
    state = {
        {{.attempted_step = 4, .applied_steps = 2, .loss_scale = 0x1p13f, .growth_count = 77, .floor_skips = 3}, 96},
        {{"beta1_power", 0.9 * 0.9}, {"beta2_power", 0.1 + 0.2}},
        "bytes-17-abc",
        "0123456789abcdef",
        "model: {name: gpt2}\n"};
  }

  CheckpointContent content(int64_t step) {
    state.next.attempted_step = uint32_t(step) + 1;
    return {model(), moments(), state, {{"config.json", "{}\n"}, {"generation_config.json", "{\"a\": 1}\n"}}};
  }
  ModelFlats model() { return {layout, params.data(), state_layout, model_state.data()}; }
  std::vector<NamedFlat> moments() { return {{"exp_avg", exp_avg.data()}, {"exp_avg_sq", exp_avg_sq.data()}}; }
};

// The exit code of what `run` throws and, in `message`, its text; -1 when it throws nothing.
template <class F>
int failure(F&& run, std::string* message = nullptr) {
  try {
    run();
  } catch (const Error& error) {
    if (message != nullptr) *message = error.what();
    return int(error.code());
  }
  return -1;
}

}  // namespace ddp::test
