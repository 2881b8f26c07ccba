// Between a flat buffer and the tensors of a file, by the layout's saved names: a file's tensor is a parameter, or rows
// of one, without padding and with its dimensions in the order that the outside knows. Padding is zero after a load.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "runtime/state/saved_view.h"
#include "runtime/state/tensor_files.h"

namespace ddp {

// The parameters of `flat`, each tensor named prefix + its saved name, in the order of the names; they refer to `flat`,
// which must outlive them.
std::vector<TensorToSave> tensors_to_save(const ParamLayout& layout, const float* flat, const std::string& prefix);

// A parameter to fill, with its padding, and the tensors that a file must hold for it.
struct Wanted {
  std::span<float> param;
  std::vector<NamedView> tensors;
};
// All parameters of `flat`, each tensor named prefix + its saved name.
std::vector<Wanted> wanted_tensors(const ParamLayout& layout, float* flat, const std::string& prefix);

// Fills the parameters, padding with zeros. Names and shapes must match exactly. Errors: config (78) naming the first
// tensors that differ, before anything is read; data (65) when the file is corrupt.
void load_tensors(SafetensorsReader file, std::span<const Wanted> wanted);

// What load_published read otherwise than it stands in the file, or did not read.
struct LoadReport {
  // How the file differs from what starts anew, and is left as it is: a text for each tensor, in the order of `wanted`.
  std::vector<std::string> anew;
  std::vector<std::string> notes;  // what else is worth a line
};

// The same of files that others wrote: names and shapes must match but for what `published` says and for the prefixes
// of a wrapped model. Errors: as above; nothing is read where a copy differs from what it is a copy of.
LoadReport load_published(const TensorFiles& files, std::span<const Wanted> wanted, const SavedNames& published);

// Such texts as one: the first three, and how many more there are.
std::string shortened(std::vector<std::string> differences);

}  // namespace ddp
