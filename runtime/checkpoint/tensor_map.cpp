#include "runtime/checkpoint/tensor_map.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "runtime/base/text_check.h"
#include "runtime/checkpoint/published_names.h"

namespace ddp {
namespace {

constexpr size_t kDifferencesNamed = 3;

std::vector<int64_t> dims_of(const SavedView& view) {
  return {view.shape.dims.begin(), view.shape.dims.begin() + view.shape.rank};
}

// The key that says how many rows the model reads, where a file may hold more; nothing: it may not.
const std::string* key_of_rows(std::string_view name, const SavedNames& published) {
  for (const SavedRows& rows : published.first_rows)
    if (means(rows.saved, name, published)) return &rows.key;
  return nullptr;
}

bool differ_in_rows_alone(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  return !a.empty() && a.size() == b.size() && std::equal(a.begin() + 1, a.end(), b.begin() + 1);
}

// Of the file's tensors from those that a parameter is made of.
std::vector<std::string> differences(const TensorsByName& tensors, const Wanted& wanted, const SavedNames& published) {
  std::vector<std::string> found;
  for (const NamedView& t : wanted.tensors) {
    const auto place = tensors.find(t.name);
    const std::vector<int64_t> shape = dims_of(t.view);
    if (place == tensors.end()) {
      found.push_back(fmt::format("{} is missing, the model's is {}", t.name, shape));
      continue;
    }
    const std::vector<int64_t>& theirs = place->second.tensor->shape;
    if (theirs == shape) continue;
    const std::string text = fmt::format("{} is {}, the model's is {}", t.name, theirs, shape);
    const std::string* key = differ_in_rows_alone(theirs, shape) ? key_of_rows(t.name, published) : nullptr;
    if (key == nullptr)
      found.push_back(text);
    else if (theirs[0] < shape[0])
      found.push_back(fmt::format("{} (set {} to {} or less)", text, *key, theirs[0]));
  }
  return found;
}

// Whether a parameter each of whose tensors differs may start anew.
bool may_start_anew(const TensorsByName& tensors, const Wanted& wanted, const SavedNames& published) {
  const auto is_there = [&](const NamedView& t) { return tensors.contains(t.name); };
  const auto may = [&](const NamedView& t) {
    return std::any_of(published.may_start_anew.begin(), published.may_start_anew.end(),
                       [&](const std::string& entry) { return means(entry, t.name, published); });
  };
  const std::vector<NamedView>& all = wanted.tensors;
  return std::all_of(all.begin(), all.end(), may) &&
         (std::all_of(all.begin(), all.end(), is_there) || std::none_of(all.begin(), all.end(), is_there));
}

std::vector<std::string> unknown(const TensorsByName& tensors, const std::set<std::string>& model_names) {
  std::vector<std::string> found;
  for (const auto& [name, tensor] : tensors)
    if (!model_names.contains(name)) found.push_back(one_line(name) + " is unknown to the model");
  return found;
}

void append(std::vector<std::string>& all, const std::vector<std::string>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

// The first rows, where the file's tensor has more.
void read_tensor(const FiledTensor& tensor, const SavedView& view, std::span<float> param) {
  const auto n = static_cast<size_t>(view.shape.numel());
  if (view.is_contiguous()) {
    tensor.read_f32(param.subspan(size_t(view.first), n));
    return;
  }
  std::vector<float> values(n);
  tensor.read_f32(values);
  view.scatter(values, param.data());
}

// Values are compared by their bits, so that none is taken for another and NaN for itself.
bool are_equal(const EqualTensors& pair) {
  if (pair.copy.tensor->shape != pair.original.tensor->shape) return false;
  constexpr int64_t kAtOnce = 1 << 16;
  std::vector<float> copy, original;
  for (int64_t at = 0, all = pair.copy.tensor->numel(); at < all; at += kAtOnce) {
    const auto n = size_t(std::min(kAtOnce, all - at));
    copy.resize(n);
    original.resize(n);
    pair.copy.read_f32(copy, at);
    pair.original.read_f32(original, at);
    if (std::memcmp(copy.data(), original.data(), n * sizeof(float)) != 0) return false;
  }
  return true;
}

void check_copies(const std::vector<EqualTensors>& copies, const std::string& path) {
  for (const EqualTensors& pair : copies)
    if (!are_equal(pair))
      throw Error(ExitCode::config,
                  fmt::format("{} is of another model: {} differs from {}, and this model has one of them", path,
                              one_line(pair.copy.name()), one_line(pair.original.name())),
                  pair.hint);
}

std::set<std::string> names_of(std::span<const Wanted> wanted) {
  std::set<std::string> names;
  for (const Wanted& w : wanted)
    for (const NamedView& t : w.tensors) names.insert(t.name);
  return names;
}

// Errors: as load_published.
LoadReport load(const NamedTensors& named, const std::string& path, std::span<const Wanted> wanted,
                const SavedNames& published) {
  const TensorsByName& tensors = named.tensors;
  LoadReport report{{}, named.notes};
  std::vector<const Wanted*> there;
  std::vector<std::string> conflicts;
  for (const Wanted& w : wanted) {
    const std::vector<std::string> found = differences(tensors, w, published);
    if (found.empty())
      there.push_back(&w);
    else if (found.size() == w.tensors.size() && may_start_anew(tensors, w, published))
      append(report.anew, found);
    else
      append(conflicts, found);
  }
  append(conflicts, unknown(tensors, names_of(wanted)));
  if (!conflicts.empty())
    throw Error(ExitCode::config, fmt::format("{} is of another model: {}", path, shortened(conflicts)));
  check_copies(named.copies, path);
  for (const Wanted* w : there) {
    std::fill(w->param.begin(), w->param.end(), 0.0f);
    for (const NamedView& t : w->tensors) {
      const FiledTensor& tensor = tensors.find(t.name)->second;
      const int64_t theirs = tensor.tensor->shape.empty() ? 0 : tensor.tensor->shape[0];
      if (const std::string* key = key_of_rows(t.name, published); key != nullptr && theirs != t.view.shape[0])
        report.notes.push_back(
            fmt::format("{}: {} uses {} of {} positions ({})", path, t.name, t.view.shape[0], theirs, *key));
      read_tensor(tensor, t.view, w->param);
    }
  }
  return report;
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

void load_tensors(SafetensorsReader file, std::span<const Wanted> wanted) {
  const TensorFiles files(std::move(file));
  NamedTensors named;
  for (const FiledTensor& t : files.tensors()) named.tensors.emplace(t.name(), t);
  load(named, files.path().string(), wanted, {});
}

LoadReport load_published(const TensorFiles& files, std::span<const Wanted> wanted, const SavedNames& published) {
  return load(name_tensors(files, names_of(wanted), published), files.path().string(), wanted, published);
}

std::string shortened(std::vector<std::string> differences) {
  const size_t more = differences.size() - std::min(differences.size(), kDifferencesNamed);
  differences.resize(differences.size() - more);
  return fmt::format("{}{}", fmt::join(differences, "; "), more == 0 ? "" : fmt::format("; and {} more", more));
}

}  // namespace ddp
