#include "runtime/data/token_files.h"

#include <fmt/core.h>

#include <algorithm>

#include "runtime/base/check.h"
#include "runtime/base/error.h"
#include "runtime/base/fs.h"
#include "runtime/base/hash.h"

namespace ddp {

TokenFiles::TokenFiles(const SourceRequest& request, TokenFormat format, SampleWindow window) : window_(window) {
  if (request.paths.size() > 1) reserve_descriptors(int64_t(request.paths.size()));
  const int64_t vocab = request.batch.find("tokens")->input.limit;
  first_sample_.push_back(0);
  for (const std::filesystem::path& path : request.paths) {
    const TokenFile& file = files_.emplace_back(path, format, window.tokens, vocab, request.token_bytes);
    first_sample_.push_back(first_sample_.back() + (file.num_tokens() - window.tokens) / window.stride + 1);
  }
}

void TokenFiles::read(int64_t sample, std::span<int32_t> out, std::vector<std::byte>& scratch) const {
  DDP_CHECK(int64_t(out.size()) == window_.tokens, "{} tokens of {}", out.size(), window_.tokens);
  const auto next = std::ranges::upper_bound(first_sample_, sample);
  const int64_t in_file = sample - next[-1];
  files_[size_t(next - first_sample_.begin()) - 1].read(in_file * window_.stride, out, scratch);
}

std::string TokenFiles::fingerprint() const {
  if (files_.size() == 1) return files_.front().fingerprint();
  std::string all;
  for (const TokenFile& file : files_) all += file.fingerprint() + '\n';
  return fmt::format("{} files, xxh3 {}", files_.size(), hash_text(xxh3(std::as_bytes(std::span(all)))));
}

}  // namespace ddp
