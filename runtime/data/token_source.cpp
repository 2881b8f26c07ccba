#include "runtime/data/token_source.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/data/masked_source.h"
#include "runtime/data/text_meta.h"

namespace ddp {
namespace {

std::unique_ptr<DataSource> open(const SourceRequest& request, TokenFormat format) {
  const BatchLayout::Field &tokens = *request.batch.find("tokens"), &targets = *request.batch.find("targets");
  DDP_CHECK(tokens.input.dtype == DType::i32 && tokens.shape.rank == 2 && targets.shape == tokens.shape,
            "tokens {} and targets {}", tokens.shape.text(), targets.shape.text());
  const int64_t context = tokens.shape[1];
  TokenFile file(request.path(), format, context + 1, tokens.input.limit);
  const double bytes =
      file.is_bytes() ? 1 : bytes_per_token(read_text_meta(request.path(), file.num_tokens()), request.path());
  return std::make_unique<TokenSource>(std::move(file), context, bytes, request.split, request.seed);
}

}  // namespace

TokenSource::TokenSource(TokenFile file, int64_t context, double bytes_per_token, Split split, uint64_t seed)
    : DataSource(split, seed), file_(std::move(file)), context_(context), bytes_per_token_(bytes_per_token) {}

void TokenSource::fill_sample(HostBatch& batch, int64_t i, const Draw& draw) const {
  thread_local std::vector<int32_t> window;  // tokens and, shifted by one, targets
  window.resize(size_t(context_ + 1));
  file_.read(draw.sample, draw.sample * context_, window, batch.raw);
  std::copy(window.begin(), window.end() - 1, batch.sample<int32_t>("tokens", i).begin());
  std::copy(window.begin() + 1, window.end(), batch.sample<int32_t>("targets", i).begin());
}

std::unique_ptr<DataSource> open_bytes(const SourceRequest& request) { return open(request, TokenFormat::bytes); }

std::unique_ptr<DataSource> open_tokens(const SourceRequest& request) {
  return request.batch.find("positions") != nullptr ? open_masked(request) : open(request, TokenFormat::tokens);
}

}  // namespace ddp
