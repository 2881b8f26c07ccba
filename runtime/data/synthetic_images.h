// Images that need no file, for tries and measurements: each class is a coarse random pattern, each image its class's
// pattern, shifted, under noise. A model can learn them.
#pragma once

#include "runtime/data/data_source.h"

namespace ddp {

class SyntheticImages final : public DataSource {
 public:
  SyntheticImages(int64_t num_samples, const SourceRequest& request);

  int64_t num_samples() const override { return num_samples_; }
  std::string fingerprint() const override;

 private:
  // The same image in each epoch; other images in training than in evaluation.
  void fill_sample(HostBatch& batch, int64_t i, const Draw& draw) const override;

  int64_t num_samples_, classes_;
};

// `request.path()` is the number of samples. Errors: config (78) where it is none.
std::unique_ptr<DataSource> open_synthetic(const SourceRequest& request);

}  // namespace ddp
