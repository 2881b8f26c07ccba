// A token file as a DataSource: shuffled for training, in file order for evaluation.
#pragma once

#include <optional>

#include "runtime/data/data_source.h"
#include "runtime/data/token_file.h"

namespace ddp {

class TokenSource final : public DataSource {
 public:
  // With a seed, stream position p is sample stream_sample(seed, p, n); without, sample p % n.
  explicit TokenSource(TokenFile file, std::optional<uint64_t> shuffle_seed);

  int64_t num_samples() const override { return file_.num_samples(); }
  void fill(HostBatch& batch, uint64_t first) const override;
  const TokenFile& file() const { return file_; }

 private:
  TokenFile file_;
  std::optional<uint64_t> shuffle_seed_;
};

}  // namespace ddp
