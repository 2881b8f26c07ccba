#include "runtime/checkpoint/tensor_map.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <map>

namespace ddp {
namespace {

constexpr size_t kDifferencesNamed = 3;

using TensorsByName = std::map<std::string, const SavedTensor*, std::less<>>;

std::vector<int64_t> dims_of(const SavedView& view) {
  return {view.shape.dims.begin(), view.shape.dims.begin() + view.shape.rank};
}

// Names are compared without prefix.
std::string_view bare(std::string_view name, const SavedNames& published) {
  for (const std::string& prefix : published.prefixes)
    if (name.starts_with(prefix)) return name.substr(prefix.size());
  return name;
}

// Whether an entry of the published names means a tensor of this bare name.
bool means(std::string_view entry, std::string_view name, const SavedNames& published) {
  return entry.starts_with('.') ? name.ends_with(entry) : name == bare(entry, published);
}

bool is_among(const std::vector<std::string>& entries, std::string_view name, const SavedNames& published) {
  return std::any_of(entries.begin(), entries.end(),
                     [&](const std::string& entry) { return means(entry, name, published); });
}

// The bare saved name of a tensor that a published file calls `name`.
std::string bare_saved_name(std::string_view name, const SavedNames& published) {
  const std::string_view theirs = bare(name, published);
  for (const SavedAlias& alias : published.aliases)
    if (means(alias.theirs, theirs, published))
      return fmt::format("{}{}", theirs.substr(0, theirs.size() - bare(alias.theirs, published).size()),
                         bare(alias.saved, published));
  return std::string(theirs);
}

TensorsByName tensors_by_bare_name(const SafetensorsReader& file, const SavedNames& published) {
  TensorsByName tensors;
  for (const SavedTensor& t : file.tensors()) {
    const auto [place, is_new] = tensors.emplace(bare_saved_name(t.name, published), &t);
    if (!is_new)
      throw Error(ExitCode::config, fmt::format("{} holds one tensor twice, as {} and as {}", file.path().string(),
                                                place->second->name, t.name));
  }
  return tensors;
}

// Of the file's tensors from those that a parameter is made of.
std::vector<std::string> differences(const TensorsByName& tensors, const Wanted& wanted, const SavedNames& published) {
  std::vector<std::string> found;
  for (const NamedView& t : wanted.tensors) {
    const auto tensor = tensors.find(bare(t.name, published));
    const std::vector<int64_t> shape = dims_of(t.view);
    if (tensor == tensors.end())
      found.push_back(fmt::format("{} is missing, the model's is {}", t.name, shape));
    else if (tensor->second->shape != shape)
      found.push_back(fmt::format("{} is {}, the model's is {}", t.name, tensor->second->shape, shape));
  }
  return found;
}

// Whether a parameter each of whose tensors differs may start anew.
bool may_start_anew(const TensorsByName& tensors, const Wanted& wanted, const SavedNames& published) {
  const auto is_there = [&](const NamedView& t) { return tensors.contains(bare(t.name, published)); };
  const auto may = [&](const NamedView& t) {
    return is_among(published.may_start_anew, bare(t.name, published), published);
  };
  const std::vector<NamedView>& all = wanted.tensors;
  return std::all_of(all.begin(), all.end(), may) &&
         (std::all_of(all.begin(), all.end(), is_there) || std::none_of(all.begin(), all.end(), is_there));
}

std::vector<std::string> unknown(TensorsByName tensors, std::span<const Wanted> wanted, const SavedNames& published) {
  for (const Wanted& w : wanted)
    for (const NamedView& t : w.tensors) tensors.erase(std::string(bare(t.name, published)));
  std::vector<std::string> found;
  for (const auto& [name, tensor] : tensors)
    if (!is_among(published.passed_over, name, published)) found.push_back(tensor->name + " is unknown to the model");
  return found;
}

void append(std::vector<std::string>& all, const std::vector<std::string>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

void read_tensor(const SafetensorsReader& file, const SavedTensor& tensor, const SavedView& view,
                 std::span<float> param) {
  const auto n = static_cast<size_t>(tensor.numel());
  if (view.is_contiguous()) {
    file.read_f32(tensor, param.subspan(size_t(view.first), n));
    return;
  }
  std::vector<float> values(n);
  file.read_f32(tensor, values);
  view.scatter(values, param.data());
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
    Wanted& w = wanted.emplace_back(Wanted{{flat + p.offset, flat + end}, saved_tensors(layout, p)});
    for (NamedView& t : w.tensors) t.name = prefix + t.name;
  }
  return wanted;
}

std::vector<std::string> load_tensors(const SafetensorsReader& file, std::span<const Wanted> wanted,
                                      const SavedNames& published) {
  const TensorsByName tensors = tensors_by_bare_name(file, published);
  std::vector<const Wanted*> there;
  std::vector<std::string> anew, conflicts;
  for (const Wanted& w : wanted) {
    const std::vector<std::string> found = differences(tensors, w, published);
    if (found.empty())
      there.push_back(&w);
    else if (found.size() == w.tensors.size() && may_start_anew(tensors, w, published))
      append(anew, found);
    else
      append(conflicts, found);
  }
  append(conflicts, unknown(tensors, wanted, published));
  if (!conflicts.empty())
    throw Error(ExitCode::config,
                fmt::format("{} is of another model: {}", file.path().string(), shortened(conflicts)));
  for (const Wanted* w : there) {
    std::fill(w->param.begin(), w->param.end(), 0.0f);
    for (const NamedView& t : w->tensors)
      read_tensor(file, *tensors.find(bare(t.name, published))->second, t.view, w->param);
  }
  return anew;
}

std::string shortened(std::vector<std::string> differences) {
  const size_t more = differences.size() - std::min(differences.size(), kDifferencesNamed);
  differences.resize(differences.size() - more);
  return fmt::format("{}{}", fmt::join(differences, "; "), more == 0 ? "" : fmt::format("; and {} more", more));
}

}  // namespace ddp
