#include "runtime/data/token_source.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "runtime/base/check.h"

namespace ddp {
namespace {

std::unique_ptr<DataSource> open(const SourceRequest& request, TokenFormat format) {
  const BatchLayout::Field &tokens = *request.batch.find("tokens"), &targets = *request.batch.find("targets");
  DDP_CHECK(tokens.input.dtype == DType::i32 && tokens.shape.rank == 2 && targets.shape == tokens.shape,
            "tokens {} and targets {}", tokens.shape.text(), targets.shape.text());
  const int64_t context = tokens.shape[1];
  return std::make_unique<TokenSource>(TokenFile(request.path, format, context + 1, tokens.input.limit), context,
                                       request.split, request.seed);
}

}  // namespace

TokenSource::TokenSource(TokenFile file, int64_t context, Split split, uint64_t seed)
    : DataSource(split, seed), file_(std::move(file)), context_(context) {}

void TokenSource::fill_sample(HostBatch& batch, int64_t i, const Draw& draw) const {
  thread_local std::vector<int32_t> window;  // tokens and, shifted by one, targets
  window.resize(size_t(context_ + 1));
  file_.read(draw.sample, draw.sample * context_, window, batch.raw);
  std::copy(window.begin(), window.end() - 1, batch.sample<int32_t>("tokens", i).begin());
  std::copy(window.begin() + 1, window.end(), batch.sample<int32_t>("targets", i).begin());
}

std::unique_ptr<DataSource> open_bytes(const SourceRequest& request) { return open(request, TokenFormat::bytes); }
std::unique_ptr<DataSource> open_tokens(const SourceRequest& request) { return open(request, TokenFormat::tokens); }

}  // namespace ddp
