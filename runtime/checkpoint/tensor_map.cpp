#include "runtime/checkpoint/tensor_map.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <utility>

namespace ddp {
namespace {

constexpr size_t kDifferencesNamed = 3;

using TensorsByName = std::map<std::string, const SavedTensor*>;

std::vector<int64_t> dims_of(const SavedView& view) {
  return {view.shape.dims.begin(), view.shape.dims.begin() + view.shape.rank};
}

// The saved name of a tensor that a published file calls `name`.
std::string saved_name(const std::string& name, const SavedNames& published) {
  std::string saved = name;
  for (const std::string& prefix : published.prefixes)
    if (name.starts_with(prefix)) {
      saved = name.substr(prefix.size());
      break;
    }
  for (const SavedAlias& alias : published.aliases)
    if (alias.theirs == saved) return alias.saved;
  return saved;
}

TensorsByName tensors_by_saved_name(const SafetensorsReader& file, const SavedNames& published) {
  TensorsByName tensors;
  for (const SavedTensor& t : file.tensors()) {
    const auto [place, is_new] = tensors.emplace(saved_name(t.name, published), &t);
    if (!is_new)
      throw Error(ExitCode::config, fmt::format("{} holds {} twice, as {} and as {}", file.path().string(),
                                                place->first, place->second->name, t.name));
  }
  return tensors;
}

bool may_be_passed_over(std::string_view name, const SavedNames& published) {
  return std::any_of(published.passed_over.begin(), published.passed_over.end(), [&](const std::string& over) {
    return over.starts_with('.') ? name.ends_with(over) : name == over;
  });
}

std::vector<std::string> differences(const TensorsByName& tensors, std::span<const Wanted> wanted,
                                     const SavedNames& published) {
  std::vector<std::string> found;
  TensorsByName unexpected = tensors;
  for (const Wanted& w : wanted) {
    const auto tensor = tensors.find(w.name);
    if (tensor == tensors.end()) {
      found.push_back(w.name + " is missing");
    } else if (const std::vector<int64_t> shape = dims_of(w.view); tensor->second->shape != shape) {
      found.push_back(fmt::format("{} is {}, the model's is {}", w.name, tensor->second->shape, shape));
    }
    unexpected.erase(w.name);
  }
  for (const auto& [name, tensor] : unexpected)
    if (!may_be_passed_over(name, published)) found.push_back(name + " is unknown to the model");
  return found;
}

void read_tensor(const SafetensorsReader& file, const SavedTensor& tensor, const Wanted& wanted) {
  const auto n = static_cast<size_t>(tensor.numel());
  if (wanted.view.is_contiguous()) {
    file.read_f32(tensor, wanted.param.subspan(size_t(wanted.view.first), n));
    return;
  }
  std::vector<float> values(n);
  file.read_f32(tensor, values);
  wanted.view.scatter(values, wanted.param.data());
}

}  // namespace

std::vector<TensorToSave> tensors_to_save(const ParamLayout& layout, const float* flat, const std::string& prefix) {
  std::vector<TensorToSave> tensors;
  for (const Param& p : layout.params())
    for (const NamedView& t : saved_tensors(layout, p)) {
      const float* memory = flat + p.offset;
      TensorToSave& tensor =
          tensors.emplace_back(TensorToSave{prefix + t.name, dims_of(t.view), memory + t.view.first});
      if (t.view.is_contiguous()) continue;
      tensor.data = nullptr;
      tensor.gather = [view = t.view, memory](int64_t begin, std::span<float> out) { view.gather(memory, begin, out); };
    }
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return tensors;
}

std::vector<Wanted> wanted_tensors(const ParamLayout& layout, float* flat, const std::string& prefix) {
  std::vector<Wanted> wanted;
  for (const Param& p : layout.params()) {
    const int64_t end = layout.chunk_begin()[size_t(p.first_chunk + p.num_chunks)];
    bool is_first = true;
    for (NamedView& t : saved_tensors(layout, p))
      wanted.push_back({prefix + t.name, t.view, {flat + p.offset, flat + end}, std::exchange(is_first, false)});
  }
  return wanted;
}

void load_tensors(const SafetensorsReader& file, std::span<const Wanted> wanted, const SavedNames& published) {
  const TensorsByName tensors = tensors_by_saved_name(file, published);
  std::vector<std::string> found = differences(tensors, wanted, published);
  if (!found.empty()) {
    const size_t more = found.size() - std::min(found.size(), kDifferencesNamed);
    found.resize(found.size() - more);
    throw Error(ExitCode::config,
                fmt::format("{} is of another model: {}{}", file.path().string(), fmt::join(found, "; "),
                            more == 0 ? "" : fmt::format("; and {} more", more)));
  }
  for (const Wanted& w : wanted) {
    if (w.is_first_part) std::fill(w.param.begin(), w.param.end(), 0.0f);
    read_tensor(file, *tensors.at(w.name), w);
  }
}

}  // namespace ddp
