// Small pictures of one size that a source holds in memory, all of them: what the files of MNIST and CIFAR are.
#pragma once

#include <filesystem>
#include <vector>

#include "runtime/data/data_source.h"
#include "runtime/data/images/view.h"

namespace ddp {

struct ImageSet {
  int64_t height = 0, width = 0, channels = 0;
  std::vector<uint8_t> pixels = {};  // (N,H,W,C)
  std::vector<uint8_t> labels = {};  // (N)
};

// A sample shows its picture as it is, scaled where the model's images have another size.
class MemoryImages final : public DataSource {
 public:
  // The labels are below the model's classes: check_labels. Errors: config (78) where the model has other channels.
  MemoryImages(ImageSet images, const SourceRequest& request);

  int64_t num_samples() const override { return int64_t(images_.labels.size()); }
  std::string fingerprint() const override;

 private:
  void fill_sample(HostBatch& batch, int64_t i, const Draw& draw) const override;

  ImageSet images_;
  Views views_;
};

// Of the samples of one file, from the first on. Errors: data (65) naming the first that is no class of the model.
void check_labels(std::span<const uint8_t> labels, const SourceRequest& request, const std::filesystem::path& file);

}  // namespace ddp
