// From the names in files that others wrote to the model's: without the prefixes of wrappers and of the model within
// another, by their aliases, copies taken for what they are copies of.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/config/saved_names.h"
#include "runtime/state/tensor_files.h"

namespace ddp {

using TensorsByName = std::map<std::string, FiledTensor, std::less<>>;

// Two that must hold the same values.
struct EqualTensors {
  FiledTensor copy, original;
  std::string hint;
};

struct NamedTensors {
  TensorsByName tensors;  // by the model's names; what the model has not, by its own
  std::vector<EqualTensors> copies;
  std::vector<std::string> notes;  // what was read otherwise than it stands in the file, a line each
};

// Whether an entry of the published names means a tensor of the model's or of a file's names.
bool means(std::string_view entry, std::string_view name, const SavedNames& published);

// `model_names`: all that the model reads. Errors: config (78) naming the prefix where only some names have a
// wrapper's, or all have one that is unknown and would be the model's without it; or two tensors that are one of the
// model's.
NamedTensors name_tensors(const TensorFiles& files, const std::set<std::string>& model_names,
                          const SavedNames& published);

}  // namespace ddp
