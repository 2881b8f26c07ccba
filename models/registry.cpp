#include "models/registry.h"

#include <algorithm>
#include <bit>

#include "models/gpt2/gpt2.h"
#include "runtime/state/precision.h"

namespace ddp {
namespace {

constexpr int64_t kCpuLogitsRows = 256;          // stay in the cache
constexpr int64_t kCudaLogitsBytes = 128 << 20;  // fill the GPU

// Rows of logits alive at once: on CUDA the largest power of two within 128 MiB.
int64_t logits_rows(const Config& config, DeviceKind device) {
  if (device != DeviceKind::cuda) return kCpuLogitsRows;
  const int64_t row = gpt2::padded_vocab(config.model.vocab) * int64_t(dtype_bytes(precision_of(config.train).storage));
  return int64_t(std::bit_floor(uint64_t(std::max<int64_t>(1, kCudaLogitsBytes / row))));
}

gpt2::Recompute recompute(const std::string& name) {
  if (name == "gelu") return gpt2::Recompute::gelu;
  if (name == "gelu+ln") return gpt2::Recompute::gelu_ln;
  if (name == "block") return gpt2::Recompute::block;
  return gpt2::Recompute::none;
}

}  // namespace

std::unique_ptr<Model> make_model(const Config& config, DeviceKind device) {
  const ModelConfig& m = config.model;
  if (m.name == "gpt2")
    return std::make_unique<gpt2::Gpt2>(gpt2::Options{.layers = m.layers,
                                                      .heads = m.heads,
                                                      .width = m.width,
                                                      .context = m.context,
                                                      .vocab = m.vocab,
                                                      .dropout = float(m.dropout),
                                                      .tie_embeddings = m.tie_embeddings,
                                                      .recompute = recompute(config.train.recompute),
                                                      .logits_rows = logits_rows(config, device)});
  throw Error(ExitCode::config, fmt::format("model.name: no model \"{}\"", m.name), "there is gpt2");
}

}  // namespace ddp
