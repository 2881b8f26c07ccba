// Texts with a label each, to be classified: data.format labelled, for models that take `tokens` (T), `types` (T),
// `lengths` () and `label` (), all i32 a sample. A safetensors file of I32:
//
//   tokens (N,W)   of text i the first lengths[i] count, [CLS] and [SEP] among them
//   types (N,W)    which part of the text each belongs to
//   lengths (N)    1 to W
//   labels (N)
//
// Other tensors are passed over. The texts of several files follow one another. A file is from a stranger: all that a
// sample can show is checked when it is opened.
#pragma once

#include "runtime/data/data_source.h"

namespace ddp {

// Of N texts, W values each.
struct TextSet {
  int64_t width = 0;
  std::vector<int32_t> tokens, types, lengths, labels;
};

class LabelledTexts final : public DataSource {
 public:
  LabelledTexts(TextSet texts, Split split, uint64_t seed);

  int64_t num_samples() const override { return int64_t(texts_.labels.size()); }
  std::string fingerprint() const override;

 private:
  // Tokens and types of text i, then 0.
  void fill_sample(HostBatch& batch, int64_t i, const Draw& draw) const override;

  TextSet texts_;
};

// Reads the whole files. Errors: no_input (66); data (65) where one is of another kind, malformed, larger than 2 GiB,
// or holds what the model has no place for; config (78) where a text is longer than its context.
std::unique_ptr<DataSource> open_labelled(const SourceRequest& request);

}  // namespace ddp
