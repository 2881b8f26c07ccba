// A token file as a DataSource, for models that take `tokens` and `targets`, (T) i32 a sample: the targets are the
// tokens shifted by one.
#pragma once

#include "runtime/data/data_source.h"
#include "runtime/data/token_file.h"

namespace ddp {

class TokenSource final : public DataSource {
 public:
  // Sample i: tokens [i * context, (i + 1) * context) of the file, and as targets the same shifted by one.
  // `bytes_per_token`: 0 where it is not known.
  TokenSource(TokenFile file, int64_t context, double bytes_per_token, Split split, uint64_t seed);

  int64_t num_samples() const override { return (file_.num_tokens() - 1) / context_; }
  std::string fingerprint() const override { return file_.fingerprint(); }
  double bytes_per_target() const override { return bytes_per_token_; }
  std::string example_prompt() const override { return file_.is_bytes() ? "In the beginning" : "0"; }

 private:
  void fill_sample(HostBatch& batch, int64_t i, const Draw& draw) const override;

  TokenFile file_;
  int64_t context_;
  double bytes_per_token_;
};

// data.format bytes and tokens; the latter is masked_source.h's where the model takes `positions`.
std::unique_ptr<DataSource> open_bytes(const SourceRequest& request);
std::unique_ptr<DataSource> open_tokens(const SourceRequest& request);

}  // namespace ddp
