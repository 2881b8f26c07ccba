#include "runtime/state/tensor_files.h"

#include <fmt/core.h>

#include <set>
#include <utility>

#include "runtime/base/text_check.h"
#include "runtime/base/weights_file.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxIndexBytes = 100'000'000;  // as of a header

ShardIndex read_index(const fs::path& path) {
  if (const int64_t size = file_size(open_input(path), path); size > kMaxIndexBytes)
    throw Error(ExitCode::data,
                fmt::format("{} has {} bytes, an index of at most {} is read", path.string(), size, kMaxIndexBytes));
  return parse_shard_index(read_text(path), path.string());
}

// The shard holds what the index puts into it, and nothing else.
void check_shard(const SafetensorsReader& shard, const std::string& name, const ShardIndex& index,
                 const fs::path& index_path) {
  std::set<std::string_view> held;
  for (const SavedTensor& t : shard.tensors()) {
    held.insert(t.name);
    const auto place = index.find(t.name);
    if (place == index.end())
      throw Error(ExitCode::data, fmt::format("{} holds {}, which {} does not name", shard.path().string(),
                                              quoted_name(t.name), index_path.string()));
    if (place->second != name)
      throw Error(ExitCode::data, fmt::format("{} holds {}, which {} puts into {}", shard.path().string(),
                                              quoted_name(t.name), index_path.string(), place->second));
  }
  for (const auto& [tensor, place] : index)
    if (place == name && !held.contains(tensor))
      throw Error(ExitCode::data, fmt::format("{} does not hold {}, which {} puts there", shard.path().string(),
                                              quoted_name(tensor), index_path.string()));
}

}  // namespace

TensorFiles::TensorFiles(SafetensorsReader file) : path_(file.path()) { files_.push_back(std::move(file)); }

TensorFiles TensorFiles::open(const fs::path& named) {
  const auto [path, is_index] = find_weights(named);
  if (!is_index) return TensorFiles(SafetensorsReader(path));
  const ShardIndex index = read_index(path);
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : index) shards.insert(shard);
  TensorFiles all;
  all.path_ = path;
  for (const std::string& shard : shards)
    check_shard(all.files_.emplace_back(path.parent_path() / shard), shard, index, path);
  return all;
}

std::vector<FiledTensor> TensorFiles::tensors() const {
  std::vector<FiledTensor> tensors;
  for (const SafetensorsReader& file : files_)
    for (const SavedTensor& tensor : file.tensors()) tensors.push_back({&file, &tensor});
  return tensors;
}

}  // namespace ddp
