// A parameter, or rows of it, in the order of its saved elements: without padding, its dimensions permuted.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/state/param_layout.h"

namespace ddp {

// Element (i, j, ...) of the saved tensor is memory[first + i * strides[0] + j * strides[1] + ...] of the parameter.
struct SavedView {
  Shape shape;  // as saved
  std::array<int64_t, Shape::kMaxRank> strides{};
  int64_t first = 0;

  // The saved elements follow each other in memory, from `first` on.
  bool is_contiguous() const;
  // Elements [begin, begin + out.size()) of the saved tensor, row-major, from the parameter's memory, and back.
  void gather(const float* memory, int64_t begin, std::span<float> out) const;
  void scatter(std::span<const float> values, float* memory) const;  // all of them
};

// The whole parameter, as the layout's saved names permute it.
SavedView saved_view(const ParamLayout& layout, const Param& param);

struct NamedView {
  std::string name;  // outside
  SavedView view;
};
// The saved tensors that the parameter is made of, with their names outside.
std::vector<NamedView> saved_tensors(const ParamLayout& layout, const Param& param);

}  // namespace ddp
