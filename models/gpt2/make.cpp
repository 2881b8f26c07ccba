#include <algorithm>
#include <bit>

#include "models/gpt2/gpt2.h"
#include "models/registry.h"
#include "runtime/state/precision.h"

namespace ddp::gpt2 {
namespace {

constexpr int64_t kCpuLogitsRows = 256;          // stay in the cache
constexpr int64_t kCudaLogitsBytes = 128 << 20;  // fill the GPU

// Rows of logits alive at once: on CUDA the largest power of two within 128 MiB.
int64_t logits_rows(const Config& config, DeviceKind device) {
  if (device != DeviceKind::cuda) return kCpuLogitsRows;
  const int64_t row =
      padded_vocab(options_of<Options>(config).vocab) * int64_t(dtype_bytes(precision_of(config.train).storage));
  return int64_t(std::bit_floor(uint64_t(std::max<int64_t>(1, kCudaLogitsBytes / row))));
}

// As the op does (kernels/ops/attention.h), but before anything runs.
void check_heads(const Options& options, DeviceKind device) {
  const int64_t head = options.width / options.heads;
  if (device == DeviceKind::cuda && (head % 8 != 0 || head > 128))
    throw Error(ExitCode::config,
                fmt::format("attention heads are {} wide, on CUDA that must be a multiple of 8, at most 128", head),
                fmt::format("choose another number of heads: the model's width is {}", options.width));
}

}  // namespace

// models/registry.h
std::unique_ptr<Model> make(const Config& config, DeviceKind device) {
  check_heads(options_of<Options>(config), device);
  return std::make_unique<Gpt2>(options_of<Options>(config), logits_rows(config, device));
}

}  // namespace ddp::gpt2
