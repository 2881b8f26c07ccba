#include "runtime/data/token_source.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/data/masked_source.h"
#include "runtime/data/text_meta.h"

namespace ddp {
namespace {

// Of all files; 0 where one of them is not known to its meta.json.
double bytes_per_token(const std::vector<TokenFile>& files) {
  TextMeta::File all;
  for (const TokenFile& file : files) {
    const std::optional<TextMeta> meta = read_text_meta(file.path(), file.num_tokens());
    const TextMeta::File* counted = meta ? meta->find(file.path()) : nullptr;
    if (counted == nullptr) return 0;
    all.bytes += counted->bytes;
    all.tokens += counted->tokens;
  }
  return double(all.bytes) / double(all.tokens);
}

std::unique_ptr<DataSource> open(const SourceRequest& request, TokenFormat format) {
  const BatchLayout::Field &tokens = *request.batch.find("tokens"), &targets = *request.batch.find("targets");
  DDP_CHECK(tokens.input.dtype == DType::i32 && tokens.shape.rank == 2 && targets.shape == tokens.shape,
            "tokens {} and targets {}", tokens.shape.text(), targets.shape.text());
  const int64_t context = tokens.shape[1];
  TokenFiles files(request, format, {.stride = context, .tokens = context + 1});
  const double bytes = format == TokenFormat::bytes ? 1 : bytes_per_token(files.files());
  return std::make_unique<TokenSource>(std::move(files), bytes, request.split, request.seed);
}

}  // namespace

TokenSource::TokenSource(TokenFiles files, double bytes_per_token, Split split, uint64_t seed)
    : DataSource(split, seed), files_(std::move(files)), bytes_per_token_(bytes_per_token) {}

void TokenSource::fill_sample(HostBatch& batch, int64_t i, const Draw& draw) const {
  thread_local std::vector<int32_t> window;  // tokens and, shifted by one, targets
  const std::span<int32_t> tokens = batch.sample<int32_t>("tokens", i);
  window.resize(tokens.size() + 1);
  files_.read(draw.sample, window, batch.raw);
  std::copy(window.begin(), window.end() - 1, tokens.begin());
  std::copy(window.begin() + 1, window.end(), batch.sample<int32_t>("targets", i).begin());
}

std::unique_ptr<DataSource> open_bytes(const SourceRequest& request) { return open(request, TokenFormat::bytes); }

std::unique_ptr<DataSource> open_tokens(const SourceRequest& request) {
  return request.batch.find("positions") != nullptr ? open_masked(request) : open(request, TokenFormat::tokens);
}

}  // namespace ddp
