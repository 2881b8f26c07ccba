// Writes on from a prompt with a trained model: whole-window forward passes (causal, so that padding after the last
// token has no influence), in windows of a few sizes, each planned once.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <vector>

#include "kernels/op_table.h"
#include "runtime/state/model.h"

namespace ddp {

struct SamplingOptions {
  double temperature = 1.0;  // 0: always the likeliest token
  int64_t top_k = 0;         // sample among the k likeliest; 0: among all
  uint64_t seed = 1;
};

class Generator {
 public:
  // `params` (flat, device memory) outlives the generator.
  Generator(Device& device, const OpTable& table, const LanguageModel& model, const TensorView& params);

  // The token after `tokens` (at least one; only the last `context` count). `index` numbers the draws of a sample.
  int32_t next(std::span<const int32_t> tokens, const SamplingOptions& options, uint64_t index);

 private:
  struct Window {
    Buffer<std::byte> memory;
    std::unique_ptr<Arena> arena;
    Buffer<int32_t> tokens;  // (1,T)
  };
  Window& window(int64_t length);
  std::span<const float> logits(std::span<const int32_t> tokens);

  Device& device_;
  const OpTable& table_;
  const LanguageModel& model_;
  TensorView params_;
  Stream stream_;
  std::map<int64_t, Window> windows_;  // by T
  std::vector<int32_t> host_tokens_;
  std::vector<float> host_logits_;  // (padded vocabulary)
  Buffer<float> logits_;
};

}  // namespace ddp
