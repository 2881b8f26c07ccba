// Token files as a DataSource, for models that take `tokens` and `targets`, (T) i32 a sample: the targets are the
// tokens shifted by one.
#pragma once

#include "runtime/data/data_source.h"
#include "runtime/data/token_files.h"
#include "runtime/data/token_scan.h"

namespace ddp {

class TokenSource final : public DataSource {
 public:
  // Sample i of a file: its tokens [i * context, (i + 1) * context), and as targets the same shifted by one: a window
  // of context + 1. `bytes_per_token`: 0 where it is not known.
  TokenSource(TokenFiles files, double bytes_per_token, Split split, uint64_t seed);

  int64_t num_samples() const override { return files_.num_samples(); }
  std::string fingerprint() const override { return files_.fingerprint(); }
  int64_t unchecked_bytes(const std::filesystem::path& verdict) const override {
    return ddp::unchecked_bytes(files_.files(), verdict);
  }
  void check(const DataCheck& check) const override { check_tokens(files_.files(), check); }
  double bytes_per_target() const override { return bytes_per_token_; }
  std::string example_prompt() const override { return files_.files().front().is_bytes() ? "In the beginning" : "0"; }

 private:
  void fill_sample(HostBatch& batch, int64_t i, const Draw& draw) const override;

  TokenFiles files_;
  double bytes_per_token_;
};

// data.format bytes and tokens; the latter is masked_source.h's where the model takes `positions`.
std::unique_ptr<DataSource> open_bytes(const SourceRequest& request);
std::unique_ptr<DataSource> open_tokens(const SourceRequest& request);

}  // namespace ddp
