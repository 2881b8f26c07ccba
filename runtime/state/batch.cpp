#include "runtime/state/batch.h"

#include <algorithm>

#include "runtime/base/rounding.h"

namespace ddp {
namespace {

constexpr int64_t kAlign = 64;  // bytes: of a field in the block

}  // namespace

BatchLayout::BatchLayout(const std::vector<Input>& inputs, int64_t num_samples) : num_samples_(num_samples) {
  const auto add = [this](const Input& input) {
    DDP_CHECK(find(input.name) == nullptr, "two inputs called {}", input.name);
    Shape shape{num_samples_};
    DDP_CHECK(input.sample.rank < Shape::kMaxRank, "input {} of {} dimensions a sample", input.name, input.sample.rank);
    for (int i = 0; i < input.sample.rank; ++i) shape.dims[size_t(shape.rank++)] = input.sample[i];
    fields_.push_back({input, shape, bytes_});
    bytes_ += round_up(shape.numel() * int64_t(dtype_bytes(input.dtype)), kAlign);
  };
  for (const Input& input : inputs) add(input);
  add({.name = std::string(kSampleIds), .dtype = DType::i32, .sample = {}});
}

const BatchLayout::Field* BatchLayout::find(std::string_view name) const {
  for (const Field& field : fields_)
    if (field.input.name == name) return &field;
  return nullptr;
}

TensorView BatchLayout::view(std::string_view name, std::byte* block) const {
  const Field* field = find(name);
  DDP_CHECK(field != nullptr, "a batch has no input called {}", name);
  return {block + field->offset, field->input.dtype, field->shape};
}

void HostBatch::ignore_targets(int64_t i) {
  for (const BatchLayout::Field& field : layout_->fields())
    if (field.input.is_target) std::ranges::fill(sample<int32_t>(field.input.name, i), -1);
}

void HostBatch::derive() {
  for (const BatchLayout::Field& field : layout_->fields())
    if (field.input.derive != nullptr) field.input.derive(*this, bytes_.data() + field.offset);
}

}  // namespace ddp
