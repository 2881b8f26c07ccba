#include "runtime/data/token_source.h"

#include <fmt/core.h>

#include <utility>

#include "runtime/base/check.h"

namespace ddp {
namespace {

std::unique_ptr<DataSource> open(const SourceRequest& request, TokenFormat format) {
  const BatchLayout::Field &tokens = *request.batch.find("tokens"), &targets = *request.batch.find("targets");
  DDP_CHECK(tokens.input.dtype == DType::i32 && tokens.shape.rank == 2 && targets.shape == tokens.shape,
            "tokens {} and targets {}", tokens.shape.text(), targets.shape.text());
  return std::make_unique<TokenSource>(TokenFile(request.path, format, tokens.shape[1], tokens.input.limit),
                                       request.split, request.seed);
}

}  // namespace

TokenSource::TokenSource(TokenFile file, Split split, uint64_t seed)
    : DataSource(split, seed), file_(std::move(file)) {}

std::string TokenSource::fingerprint() const {
  const DataFingerprint f = file_.fingerprint();
  return fmt::format("{} bytes, xxh3 {}", f.size_bytes, f.xxh3);
}

void TokenSource::fill_sample(HostBatch& batch, int64_t i, const Draw& draw) const {
  file_.read_sample(draw.sample, batch.sample<int32_t>("tokens", i), batch.sample<int32_t>("targets", i), batch.raw);
}

std::unique_ptr<DataSource> open_bytes(const SourceRequest& request) { return open(request, TokenFormat::bytes); }
std::unique_ptr<DataSource> open_tokens(const SourceRequest& request) { return open(request, TokenFormat::tokens); }

}  // namespace ddp
