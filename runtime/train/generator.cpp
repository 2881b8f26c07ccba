#include "runtime/train/generator.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "runtime/base/philox.h"

namespace ddp {
namespace {

constexpr int64_t kSmallestWindow = 64;

int32_t draw(std::span<const float> logits, const SamplingOptions& options, uint64_t index) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto likelier = [&](int32_t a, int32_t b) { return logits[size_t(a)] > logits[size_t(b)]; };
  if (options.temperature <= 0.0) return *std::min_element(order.begin(), order.end(), likelier);
  if (options.top_k > 0 && options.top_k < int64_t(order.size())) {
    std::partial_sort(order.begin(), order.begin() + options.top_k, order.end(), likelier);
    order.resize(size_t(options.top_k));
  }
  double largest = -INFINITY;
  for (int32_t t : order) largest = std::max(largest, double(logits[size_t(t)]));
  std::vector<double> cumulative(order.size());
  double sum = 0.0;
  for (size_t i = 0; i < order.size(); ++i)
    cumulative[i] = sum += std::exp((double(logits[size_t(order[i])]) - largest) / options.temperature);
  const Philox4 r =
      philox(uint32_t(options.seed), uint32_t(options.seed >> 32), uint32_t(index), uint32_t(index >> 32), 0, 1);
  const double point = sum * double(r.word[0]) * 0x1p-32;
  const auto at = std::upper_bound(cumulative.begin(), cumulative.end(), point);
  return order[std::min(size_t(at - cumulative.begin()), order.size() - 1)];
}

}  // namespace

Generator::Generator(Device& device, const OpTable& table, const LanguageModel& model, const TensorView& params)
    : device_(device),
      table_(table),
      model_(model),
      params_(params),
      stream_(device, StreamRole::compute),
      host_logits_(size_t(model.padded_vocab())),
      logits_(device, int64_t(host_logits_.size())) {}

Generator::Window& Generator::window(int64_t length) {
  int64_t t = std::min(kSmallestWindow, model_.context());
  while (t < length) t = std::min(2 * t, model_.context());
  const auto found = windows_.find(t);
  if (found != windows_.end()) return found->second;

  const auto meta = make_meta_device();
  Stream dry_stream(*meta, StreamRole::compute);
  Arena recording;
  recording.begin(Program::generate);
  const Buffer<int32_t> dry_tokens(*meta, t);
  model_.generate({.table = &meta_op_table(), .stream = &dry_stream}, recording,
                  {.params = params_,
                   .tokens = dry_tokens.view({1, t}),
                   .position = t - 1,
                   .logits = logits_.view({1, logits_.count()})});
  recording.end();
  const ArenaPlan plan = recording.plan();
  Window w;
  w.memory = Buffer<std::byte>(device_, plan.arena_bytes);
  w.arena = std::make_unique<Arena>(plan, w.memory.data());
  w.tokens = Buffer<int32_t>(device_, t);
  return windows_.emplace(t, std::move(w)).first->second;
}

std::span<const float> Generator::logits(std::span<const int32_t> tokens) {
  if (int64_t(tokens.size()) > model_.context()) tokens = tokens.last(size_t(model_.context()));
  Window& w = window(int64_t(tokens.size()));
  host_tokens_.assign(size_t(w.tokens.count()), 0);
  std::copy(tokens.begin(), tokens.end(), host_tokens_.begin());
  stream_.copy(w.tokens.data(), host_tokens_.data(), w.tokens.bytes());
  w.arena->begin(Program::generate);
  model_.generate({.table = &table_, .stream = &stream_}, *w.arena,
                  {.params = params_,
                   .tokens = w.tokens.view({1, w.tokens.count()}),
                   .position = int64_t(tokens.size()) - 1,
                   .logits = logits_.view({1, logits_.count()})});
  w.arena->end();
  stream_.copy(host_logits_.data(), logits_.data(), logits_.bytes());
  stream_.synchronize({});
  return std::span<const float>(host_logits_).first(size_t(model_.vocab()));
}

int32_t Generator::next(std::span<const int32_t> tokens, const SamplingOptions& options, uint64_t index) {
  DDP_CHECK(!tokens.empty(), "nothing to go on from");
  return draw(logits(tokens), options, index);
}

}  // namespace ddp
