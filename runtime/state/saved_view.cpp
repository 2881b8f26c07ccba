#include "runtime/state/saved_view.h"

#include <algorithm>

namespace ddp {
namespace {

// Calls f(offset in memory) for saved elements [begin, end), row-major.
template <class F>
void for_each_element(const SavedView& view, int64_t begin, int64_t end, F f) {
  const int rank = view.shape.rank;
  std::array<int64_t, Shape::kMaxRank> index{};
  int64_t rest = begin, at = view.first;
  for (int d = rank - 1; d >= 0; --d) {
    index[size_t(d)] = rest % view.shape[d];
    rest /= view.shape[d];
    at += index[size_t(d)] * view.strides[size_t(d)];
  }
  for (int64_t i = begin; i < end; ++i) {
    f(at);
    for (int d = rank - 1; d >= 0; --d) {
      at += view.strides[size_t(d)];
      if (++index[size_t(d)] < view.shape[d]) break;
      at -= view.shape[d] * view.strides[size_t(d)];
      index[size_t(d)] = 0;
    }
  }
}

std::vector<const SavedPart*> parts_of(const ParamLayout& layout, const Param& param) {
  std::vector<const SavedPart*> parts;
  for (const SavedPart& part : layout.saved_names().parts)
    if (part.param == param.name) parts.push_back(&part);
  std::sort(parts.begin(), parts.end(), [](const auto* a, const auto* b) { return a->first_row < b->first_row; });
  return parts;
}

SavedView whole(const Param& param, const std::vector<int>& permutation) {
  const int rank = param.shape.rank;
  std::array<int64_t, Shape::kMaxRank> strides{};
  int64_t stride = 1;
  for (int d = rank - 1; d >= 0; --d) {
    strides[size_t(d)] = stride;
    stride *= param.shape[d];
  }
  std::vector<int> sorted = permutation;
  std::sort(sorted.begin(), sorted.end());
  SavedView view{.shape = param.live};
  view.strides = strides;
  if (permutation.empty()) return view;
  for (int d = 0; d < rank; ++d) {
    DDP_CHECK(sorted.size() == size_t(rank) && sorted[size_t(d)] == d, "{} is saved with another rank", param.name);
    const auto from = size_t(permutation[size_t(d)]);
    view.shape.dims[size_t(d)] = param.live.dims[from];
    view.strides[size_t(d)] = strides[from];
  }
  return view;
}

}  // namespace

bool SavedView::is_contiguous() const {
  int64_t expected = 1;
  for (int d = shape.rank - 1; d >= 0; --d) {
    if (shape[d] != 1 && strides[size_t(d)] != expected) return false;
    expected *= shape[d];
  }
  return true;
}

void SavedView::gather(const float* memory, int64_t begin, std::span<float> out) const {
  float* to = out.data();
  for_each_element(*this, begin, begin + int64_t(out.size()), [&](int64_t at) { *to++ = memory[at]; });
}

void SavedView::scatter(std::span<const float> values, float* memory) const {
  DDP_CHECK(int64_t(values.size()) == shape.numel(), "{} values for {}", values.size(), shape.text());
  const float* from = values.data();
  for_each_element(*this, 0, shape.numel(), [&](int64_t at) { memory[at] = *from++; });
}

SavedView saved_view(const ParamLayout& layout, const Param& param) {
  const std::vector<const SavedPart*> parts = parts_of(layout, param);
  return whole(param, parts.empty() ? std::vector<int>() : parts.front()->permutation);
}

std::vector<NamedView> saved_tensors(const ParamLayout& layout, const Param& param) {
  const std::vector<const SavedPart*> parts = parts_of(layout, param);
  const SavedView all = saved_view(layout, param);
  if (parts.empty()) return {{param.name, all}};
  std::vector<NamedView> tensors;
  int64_t row = 0;
  for (const SavedPart* part : parts) {
    NamedView& tensor = tensors.emplace_back(NamedView{part->saved, all});
    const int64_t rows = part->num_rows < 0 ? all.shape[0] - part->first_row : part->num_rows;
    DDP_CHECK(part->first_row == row && rows > 0 && part->permutation == parts.front()->permutation,
              "{} is no part of {} that follows the one before", part->saved, param.name);
    tensor.view.shape.dims[0] = rows;
    tensor.view.first = row * all.strides[0];
    row += rows;
  }
  DDP_CHECK(row == all.shape[0], "{} of {} rows of {} are saved", row, all.shape[0], param.name);
  return tensors;
}

}  // namespace ddp
