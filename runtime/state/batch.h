// What a micro-batch is made of: tensors with names. A model says what it takes, a data source fills it on the host,
// and all that lies between, the prefetcher, the stager, the dry run, sees one block of bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/device/tensor.h"

namespace ddp {

class HostBatch;

// One of the tensors that a model takes.
struct Input {
  std::string name;          // "tokens"
  DType dtype = DType::i32;  // as it comes: the device makes of it what it needs
  Shape sample;              // of one sample; a batch of B has (B, ...)
  int64_t limit = 0;         // i32: values are below it, or the data is of another vocabulary; 0: any value
  bool is_target = false;    // i32: what is to be predicted; below 0 it is ignored
  // Where set, no source fills it: it is made from the other inputs of a training batch, by the thread that prepared
  // them. `out` is this input of the whole batch.
  void (*derive)(const HostBatch& batch, std::byte* out) = nullptr;
};

// Where each input of B samples lies in a batch's block of bytes.
class BatchLayout {
 public:
  struct Field {
    Input input;
    Shape shape;  // (B, ...)
    int64_t offset = 0;
  };

  // Adds an input of its own: kSampleIds, (B) i32.
  BatchLayout(const std::vector<Input>& inputs, int64_t num_samples);

  int64_t num_samples() const { return num_samples_; }
  int64_t bytes() const { return bytes_; }
  const std::vector<Field>& fields() const { return fields_; }
  const Field* find(std::string_view name) const;  // nullptr: the model takes no such input
  TensorView view(std::string_view name, std::byte* block) const;

 private:
  int64_t num_samples_ = 0, bytes_ = 0;
  std::vector<Field> fields_;
};

// The index of each sample in the global batch: what dropout is keyed by.
inline constexpr std::string_view kSampleIds = "sample ids";

// A micro-batch in host memory; allocated once and filled many times. The layout outlives it.
class HostBatch {
 public:
  explicit HostBatch(const BatchLayout& layout) : layout_(&layout), bytes_(size_t(layout.bytes())) {}

  const BatchLayout& layout() const { return *layout_; }
  std::span<const std::byte> bytes() const { return bytes_; }
  std::span<std::byte> bytes() { return bytes_; }
  TensorView view(std::string_view name) const { return layout_->view(name, const_cast<std::byte*>(bytes_.data())); }
  // All values of an input, or those of sample `i`.
  template <class T>
  std::span<T> values(std::string_view name) {
    const TensorView x = view(name);
    return {x.as<T>(), size_t(x.numel())};
  }
  template <class T>
  std::span<const T> values(std::string_view name) const {
    const TensorView x = view(name);
    return {x.as<T>(), size_t(x.numel())};
  }
  template <class T>
  std::span<T> sample(std::string_view name, int64_t i) {
    const TensorView x = view(name).rows(i, 1);
    return {x.as<T>(), size_t(x.numel())};
  }
  std::span<int32_t> sample_ids() { return values<int32_t>(kSampleIds); }
  std::span<const int32_t> sample_ids() const { return values<int32_t>(kSampleIds); }
  // Makes sample `i` count for nothing.
  void ignore_targets(int64_t i);
  // Makes what is derived from what a source has filled.
  void derive();

  std::vector<std::byte> raw;  // scratch of the source: a sample as in the file

 private:
  const BatchLayout* layout_;
  std::vector<std::byte> bytes_;
};

// A micro-batch on the device. `block` has layout.bytes(); both outlive it.
class Batch {
 public:
  Batch(const BatchLayout& layout, std::byte* block) : layout_(&layout), block_(block) {}
  int64_t num_samples() const { return layout_->num_samples(); }
  TensorView operator[](std::string_view name) const { return layout_->view(name, block_); }
  TensorView sample_ids() const { return (*this)[kSampleIds]; }

 private:
  const BatchLayout* layout_;
  std::byte* block_;
};

}  // namespace ddp
