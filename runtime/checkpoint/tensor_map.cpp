#include "runtime/checkpoint/tensor_map.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>

namespace ddp {
namespace {

constexpr size_t kDifferencesNamed = 3;
constexpr std::string_view kHuggingFacePrefix = "transformer.";

using TensorsByName = std::map<std::string, const SavedTensor*>;

std::vector<int64_t> saved_shape(const Param& p) {
  std::vector<int64_t> shape(p.shape.dims.begin(), p.shape.dims.begin() + p.shape.rank);
  shape[0] = p.saved_rows;
  return shape;
}

// The file's tensors under the names that a layout gives them.
TensorsByName tensors_by_name(const SafetensorsReader& file, NameRule rule) {
  TensorsByName tensors;
  for (const SavedTensor& t : file.tensors()) {
    const bool prefixed = rule == NameRule::hugging_face && t.name.starts_with(kHuggingFacePrefix);
    const std::string name = prefixed ? t.name.substr(kHuggingFacePrefix.size()) : t.name;
    if (!tensors.emplace(name, &t).second)
      throw Error(ExitCode::config, fmt::format("{} holds {} twice, with and without {}", file.path().string(), name,
                                                kHuggingFacePrefix));
  }
  return tensors;
}

// Buffers that some published files carry beside the parameters.
bool may_be_passed_over(std::string_view name, NameRule rule) {
  return rule == NameRule::hugging_face &&
         (name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") || name == "lm_head.weight");
}

std::vector<std::string> differences(const TensorsByName& tensors, std::span<const Wanted> wanted, NameRule rule) {
  std::vector<std::string> found;
  TensorsByName unexpected = tensors;
  for (const Wanted& w : wanted) {
    const auto tensor = tensors.find(w.name);
    if (tensor == tensors.end()) {
      found.push_back(w.name + " is missing");
    } else if (tensor->second->shape != w.shape) {
      found.push_back(fmt::format("{} is {}, the model's is {}", w.name, tensor->second->shape, w.shape));
    }
    unexpected.erase(w.name);
  }
  for (const auto& [name, tensor] : unexpected)
    if (!may_be_passed_over(name, rule)) found.push_back(name + " is unknown to the model");
  return found;
}

}  // namespace

std::vector<TensorToSave> tensors_to_save(const ParamLayout& layout, const float* flat, const std::string& prefix) {
  std::vector<TensorToSave> tensors;
  for (const Param& p : layout.params()) tensors.push_back({prefix + p.name, saved_shape(p), flat + p.offset});
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return tensors;
}

std::vector<Wanted> wanted_tensors(const ParamLayout& layout, float* flat, const std::string& prefix) {
  std::vector<Wanted> wanted;
  for (const Param& p : layout.params()) {
    const int64_t end = layout.chunk_begin()[size_t(p.first_chunk + p.num_chunks)];
    wanted.push_back({prefix + p.name, saved_shape(p), {flat + p.offset, flat + end}});
  }
  return wanted;
}

void load_tensors(const SafetensorsReader& file, std::span<const Wanted> wanted, NameRule rule) {
  const TensorsByName tensors = tensors_by_name(file, rule);
  std::vector<std::string> found = differences(tensors, wanted, rule);
  if (!found.empty()) {
    const size_t more = found.size() - std::min(found.size(), kDifferencesNamed);
    found.resize(found.size() - more);
    throw Error(ExitCode::config,
                fmt::format("{} is of another model: {}{}", file.path().string(), fmt::join(found, "; "),
                            more == 0 ? "" : fmt::format("; and {} more", more)));
  }
  for (const Wanted& w : wanted) {
    const SavedTensor& tensor = *tensors.at(w.name);
    const size_t n = size_t(tensor.numel());
    file.read_f32(tensor, w.memory.first(n));
    std::fill(w.memory.begin() + ptrdiff_t(n), w.memory.end(), 0.0f);
  }
}

}  // namespace ddp
