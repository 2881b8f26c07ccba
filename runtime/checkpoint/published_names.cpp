#include "runtime/checkpoint/published_names.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "runtime/base/text_check.h"

namespace ddp {
namespace {

// What torch puts before the names of a model in DistributedDataParallel, and of a compiled one; each may be in the
// other.
constexpr std::string_view kWrappers[] = {"module.", "_orig_mod."};

std::string_view wrappers_of(std::string_view name) {
  size_t length = 0;
  for (bool found = true; found;) {
    found = false;
    for (const std::string_view wrapper : kWrappers)
      if (name.substr(length).starts_with(wrapper)) {
        length += wrapper.size();
        found = true;
      }
  }
  return name.substr(0, length);
}

// A file's name in its parts: wrappers, the model within another, wrappers of that one alone, and the rest.
struct Split {
  std::string_view outer, prefix, inner, bare;
};

std::string_view prefix_of(std::string_view name, const SavedNames& published) {
  for (const std::string& prefix : published.prefixes)
    if (name.starts_with(prefix)) return name.substr(0, prefix.size());
  return {};
}

std::string_view bare(std::string_view name, const SavedNames& published) {
  return name.substr(prefix_of(name, published).size());
}

Split split(std::string_view name, const SavedNames& published) {
  Split parts;
  parts.outer = wrappers_of(name);
  name.remove_prefix(parts.outer.size());
  parts.prefix = prefix_of(name, published);
  name.remove_prefix(parts.prefix.size());
  if (!parts.prefix.empty()) parts.inner = wrappers_of(name);
  parts.bare = name.substr(parts.inner.size());
  return parts;
}

// The bare saved name of a tensor that a published file calls `name`.
std::string bare_saved_name(std::string_view name, const SavedNames& published) {
  const std::string_view theirs = split(name, published).bare;
  for (const SavedAlias& alias : published.aliases)
    if (means(alias.theirs, theirs, published))
      return fmt::format("{}{}", theirs.substr(0, theirs.size() - bare(alias.theirs, published).size()),
                         bare(alias.saved, published));
  return std::string(theirs);
}

bool has_shape(const SavedTensor& tensor, const std::vector<int64_t>& shape) {
  return std::equal(tensor.shape.begin(), tensor.shape.end(), shape.begin(), shape.end(),
                    [](int64_t is, int64_t wanted) { return wanted == -1 || is == wanted; });
}

bool is_weight_type(const std::string& dtype) {
  return dtype == "F64" || dtype == "F32" || dtype == "F16" || dtype == "BF16";
}

bool is_buffer(const FiledTensor& t, const SavedNames& published) {
  const std::string_view name = split(t.name(), published).bare;
  return std::any_of(published.buffers.begin(), published.buffers.end(), [&](const SavedBuffer& buffer) {
    return means(buffer.name, name, published) &&
           (!is_weight_type(t.tensor->dtype) || has_shape(*t.tensor, buffer.shape));
  });
}

bool is_other_head(std::string_view name, const SavedNames& published) {
  return std::any_of(published.other_heads.begin(), published.other_heads.end(),
                     [&](const std::string& entry) { return means(entry, name, published); });
}

// The wrappers that all of the names have, by `part` of each; none where there are no names.
std::string common_wrappers(const std::vector<FiledTensor>& tensors, const std::string& path,
                            const SavedNames& published, std::string_view Split::*part) {
  const auto wrappers = [&](const FiledTensor& t) { return split(t.name(), published).*part; };
  for (const FiledTensor& t : tensors) {
    if (wrappers(t) == wrappers(tensors.front())) continue;
    FiledTensor with = t, without = tensors.front();
    if (wrappers(with).size() < wrappers(without).size()) std::swap(with, without);
    throw Error(
        ExitCode::config,
        fmt::format("{} is of another model: {} begins with \"{}\", as the names of a wrapped model do, and {} "
                    "does not",
                    path, one_line(with.name()),
                    with.name().substr(0, size_t(wrappers(with).end() - with.name().data())), one_line(without.name())),
        "save the state_dict of the model within the wrapper");
  }
  return tensors.empty() ? "" : std::string(wrappers(tensors.front()));
}

// What stands before the names by wrapping is the same in all that are read. Returns it.
std::string check_wrappers(const TensorFiles& files, const SavedNames& published) {
  std::vector<FiledTensor> all = files.tensors(), within;
  std::erase_if(all, [&](const FiledTensor& t) {
    return is_buffer(t, published) || is_other_head(bare_saved_name(t.name(), published), published);
  });
  std::copy_if(all.begin(), all.end(), std::back_inserter(within),
               [&](const FiledTensor& t) { return !split(t.name(), published).prefix.empty(); });
  const std::string path = files.path().string();
  const std::string outer = common_wrappers(all, path, published, &Split::outer);
  const std::string inner = common_wrappers(within, path, published, &Split::inner);
  if (inner.empty()) return outer;
  return fmt::format("{}{}{}", outer, split(within.front().name(), published).prefix, inner);
}

// What every name begins with that would be the model's without it; empty where there is no such prefix.
std::string unknown_prefix(const std::vector<FiledTensor>& tensors, const std::set<std::string>& model_names,
                           const SavedNames& published) {
  if (tensors.empty()) return {};
  const std::string& first = tensors.front().name();
  for (size_t dot = first.find('.'); dot != first.npos; dot = first.find('.', dot + 1)) {
    const std::string prefix = first.substr(0, dot + 1);
    std::set<std::string> without;
    for (const FiledTensor& t : tensors) {
      if (!t.name().starts_with(prefix)) return {};
      without.insert(bare_saved_name(std::string_view(t.name()).substr(prefix.size()), published));
    }
    for (const SavedCopy& copy : published.copies)
      if (without.contains(std::string(bare(copy.theirs, published)))) without.emplace(bare(copy.saved, published));
    const auto is_there = [&](const std::string& name) {
      return without.contains(std::string(bare(name, published))) ||
             std::any_of(published.may_start_anew.begin(), published.may_start_anew.end(),
                         [&](const std::string& entry) { return means(entry, name, published); });
    };
    if (std::all_of(model_names.begin(), model_names.end(), is_there)) return prefix;
  }
  return {};
}

// Each tensor once, by its bare saved name.
TensorsByName tensors_by_bare_name(const TensorFiles& files, const SavedNames& published) {
  TensorsByName tensors;
  for (const FiledTensor& t : files.tensors()) {
    if (is_buffer(t, published)) continue;
    const auto [place, is_new] = tensors.emplace(bare_saved_name(t.name(), published), t);
    if (!is_new)
      throw Error(ExitCode::config, fmt::format("{} holds one tensor twice, as {} and as {}", files.path().string(),
                                                one_line(place->second.name()), one_line(t.name())));
  }
  return tensors;
}

std::vector<EqualTensors> take_copies(TensorsByName& tensors, const SavedNames& published) {
  std::vector<EqualTensors> pairs;
  for (const SavedCopy& copy : published.copies) {
    const auto theirs = tensors.find(bare(copy.theirs, published));
    if (theirs == tensors.end()) continue;
    const auto [original, was_missing] = tensors.emplace(bare(copy.saved, published), theirs->second);
    if (!was_missing) pairs.push_back({theirs->second, original->second, copy.hint});
    tensors.erase(theirs);
  }
  return pairs;
}

}  // namespace

bool means(std::string_view entry, std::string_view name, const SavedNames& published) {
  return entry.starts_with('.') ? name.ends_with(entry) : bare(name, published) == bare(entry, published);
}

NamedTensors name_tensors(const TensorFiles& files, const std::set<std::string>& model_names,
                          const SavedNames& published) {
  const std::string path = files.path().string();
  NamedTensors named;
  if (const std::string wrappers = check_wrappers(files, published); !wrappers.empty())
    named.notes.push_back(fmt::format("{}: its names are read without \"{}\"", path, wrappers));
  TensorsByName by_bare_name = tensors_by_bare_name(files, published);
  named.copies = take_copies(by_bare_name, published);
  for (const std::string& name : model_names)
    if (auto found = by_bare_name.extract(std::string(bare(name, published)))) {
      found.key() = name;
      named.tensors.insert(std::move(found));
    }
  const bool none_is_known = named.tensors.empty();
  std::vector<std::string> heads;
  for (const auto& [name, tensor] : by_bare_name) {
    if (is_other_head(name, published))
      heads.push_back(one_line(tensor.name()));
    else
      named.tensors.emplace(tensor.name(), tensor);
  }
  if (none_is_known)
    if (const std::string prefix = unknown_prefix(files.tensors(), model_names, published); !prefix.empty())
      throw Error(ExitCode::config,
                  fmt::format("{} is of another model: every name begins with \"{}\", without which they are this "
                              "model's",
                              path, one_line(prefix)),
                  "save the state_dict of the model within, or the tensors without it");
  if (!heads.empty())
    named.notes.push_back(
        fmt::format("{}: what this model has no use for is passed over: {}", path, fmt::join(heads, ", ")));
  return named;
}

}  // namespace ddp
