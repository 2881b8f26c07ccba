// Weights as others publish them: one safetensors file, or several, the shards, beside an index that says which of them
// holds each tensor. Who reads them sees one set of tensors.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/state/safetensors.h"

namespace ddp {

// A tensor, and the file that it lies in.
struct FiledTensor {
  const SafetensorsReader* file;
  const SavedTensor* tensor;

  const std::string& name() const { return tensor->name; }
  // As SafetensorsReader::read_f32.
  void read_f32(std::span<float> out, int64_t begin = 0) const { file->read_f32(*tensor, out, begin); }
};

class TensorFiles {
 public:
  // Of one file.
  explicit TensorFiles(SafetensorsReader file);
  // `named`: what model.init_from may name (runtime/base/weights_file.h). Errors: no_input (66) where a file is
  // missing; data (65) where one is malformed, or the shards do not hold exactly what their index says.
  static TensorFiles open(const std::filesystem::path& named);

  // What stands for all of them in messages: the one file, or the index.
  const std::filesystem::path& path() const { return path_; }
  std::vector<FiledTensor> tensors() const;

 private:
  TensorFiles() = default;

  std::filesystem::path path_;
  std::vector<SafetensorsReader> files_;
};

// The index of a file in shards: from tensors to the names of files in the folder of the index. `file` stands for it in
// errors: data (65) when it is malformed, or names what lies elsewhere.
using ShardIndex = std::map<std::string, std::string, std::less<>>;
ShardIndex parse_shard_index(std::string_view text, const std::string& file);

}  // namespace ddp
