// Between a flat buffer and the tensors of a file: names, saved rows (padding of a vocabulary is not saved, and is zero
// after a load), and the comparison of a file's tensors with a layout's.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "runtime/checkpoint/safetensors.h"
#include "runtime/state/param_layout.h"

namespace ddp {

// The parameters of `flat`, each named prefix + its name; views into `flat`, which must outlive them.
std::vector<TensorToSave> tensors_to_save(const ParamLayout& layout, const float* flat, const std::string& prefix);

// What a file must hold, and the memory that it is read into.
struct Wanted {
  std::string name;
  std::vector<int64_t> shape;
  std::span<float> memory;  // with the parameter's padding: as many elements as the shape says, or more
};
// One per parameter of `flat`, named prefix + its name.
std::vector<Wanted> wanted_tensors(const ParamLayout& layout, float* flat, const std::string& prefix);

enum class NameRule {
  exact,
  hugging_face,  // names may begin with "transformer."; attention masks and a tied lm_head.weight are passed over
};
// Fills every wanted parameter, padding with zeros. Names and shapes must match exactly. Errors: 78 naming the first
// tensors that differ, before anything is read; 65 when the file is corrupt.
void load_tensors(const SafetensorsReader& file, std::span<const Wanted> wanted, NameRule rule);

}  // namespace ddp
