// Token files as a DataSource for masked language modelling, for models that take `tokens` (T), `types` (T),
// `positions` (K) and `targets` (K), all i32.
#pragma once

#include "runtime/data/data_source.h"
#include "runtime/data/masking.h"
#include "runtime/data/token_files.h"
#include "runtime/data/token_scan.h"

namespace ddp {

class MaskedSource final : public DataSource {
 public:
  struct Rules {
    MaskRule masking;
    int32_t cls = 0, sep = 0;
    std::string special_ids;  // all of them in words, for the fingerprint
  };

  // Sample i of a file: cls, its tokens [i (T - 2), (i + 1) (T - 2)), sep; then masked. Documents follow one another in
  // the file with a sep between them, so that nothing is padded and types are 0. Masks change with the epoch in
  // training, and never in evaluation.
  MaskedSource(TokenFiles files, Rules rules, Split split, uint64_t seed);

  int64_t num_samples() const override { return files_.num_samples(); }
  std::string fingerprint() const override;
  int64_t unchecked_bytes(const std::filesystem::path& verdict) const override {
    return ddp::unchecked_bytes(files_.files(), verdict);
  }
  void check(const DataCheck& check) const override { check_tokens(files_.files(), check); }

 private:
  void fill_sample(HostBatch& batch, int64_t i, const Draw& draw) const override;

  TokenFiles files_;
  Rules rules_;
};

// data.format tokens, for a model that takes `positions`. The special tokens come from the meta.json beside each file.
// Errors: as TokenFiles' and read_text_meta's; no_input (66) where there is no meta.json, data (65) where it lacks a
// token or where those of two files differ, config (78) where its vocabulary is larger than the model's.
std::unique_ptr<DataSource> open_masked(const SourceRequest& request);

}  // namespace ddp
