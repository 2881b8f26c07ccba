// A token file as a DataSource for masked language modelling, for models that take `tokens` (T), `types` (T),
// `positions` (K) and `targets` (K), all i32.
#pragma once

#include "runtime/data/data_source.h"
#include "runtime/data/masking.h"
#include "runtime/data/token_file.h"

namespace ddp {

class MaskedSource final : public DataSource {
 public:
  struct Rules {
    MaskRule masking;
    int32_t cls = 0, sep = 0;
    std::string special_ids;  // all of them in words, for the fingerprint
  };

  // Sample i: cls, tokens [i (T - 2), (i + 1) (T - 2)) of the file, sep; then masked. Documents follow one another in
  // the file with a sep between them, so that nothing is padded and types are 0. Masks change with the epoch in
  // training, and never in evaluation.
  MaskedSource(TokenFile file, int64_t context, Rules rules, Split split, uint64_t seed);

  int64_t num_samples() const override { return file_.num_tokens() / text_tokens_; }
  std::string fingerprint() const override;

 private:
  void fill_sample(HostBatch& batch, int64_t i, const Draw& draw) const override;

  TokenFile file_;
  int64_t text_tokens_;  // of a sample
  Rules rules_;
};

// data.format tokens, for a model that takes `positions`. The special tokens come from the meta.json beside the file.
// Errors: as TokenFile's and read_text_meta's; no_input (66) where there is no meta.json, data (65) where it lacks a
// token, config (78) where its vocabulary is larger than the model's.
std::unique_ptr<DataSource> open_masked(const SourceRequest& request);

}  // namespace ddp
