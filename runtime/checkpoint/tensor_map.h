// Between a flat buffer and the tensors of a file, by the layout's saved names: a file's tensor is a parameter, or rows
// of one, without padding and with its dimensions in the order that the outside knows. Padding is zero after a load.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "runtime/checkpoint/safetensors.h"
#include "runtime/state/saved_view.h"

namespace ddp {

// The parameters of `flat`, each tensor named prefix + its saved name, in the order of the names; they refer to `flat`,
// which must outlive them.
std::vector<TensorToSave> tensors_to_save(const ParamLayout& layout, const float* flat, const std::string& prefix);

// A tensor that a file must hold, and the memory that it is read into.
struct Wanted {
  std::string name;
  SavedView view;
  std::span<float> param;     // the whole parameter with its padding
  bool is_first_part = true;  // of the parameter's tensors
};
// Those of all parameters of `flat`, each named prefix + its saved name.
std::vector<Wanted> wanted_tensors(const ParamLayout& layout, float* flat, const std::string& prefix);

// Fills every parameter, padding with zeros. Names and shapes must match exactly, but for the prefixes, aliases and
// tensors to pass over of `published`, by default none. Errors: config (78) naming the first tensors that differ,
// before anything is read; data (65) when the file is corrupt.
void load_tensors(const SafetensorsReader& file, std::span<const Wanted> wanted, const SavedNames& published = {});

}  // namespace ddp
