#include "runtime/base/weights_file.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "runtime/base/error.h"
#include "runtime/base/file_kind.h"
#include "runtime/base/run_files.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndexFile = "model.safetensors.index.json";

// Weights in formats that are not read, by the names that others give them in a folder.
constexpr std::array kOtherWeights = {"pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt",
                                      "tf_model.h5",       "flax_model.msgpack",           "model.ckpt.index"};

// What to do with a file of this kind where weights are wanted.
const char* to_get_weights(FileClass type) {
  switch (type) {
    case FileClass::empty:
      return "its download or copy may have failed: fetch it again";
    case FileClass::text:
      return "name the file of the weights; a failed download may have left its error there";
    case FileClass::json_object:
    case FileClass::json_array:
      return "name the weights, or an index of shards (model.safetensors.index.json)";
    case FileClass::web_page:
      return "download the file itself: a page of its site, or an error, was saved in its place";
    case FileClass::lfs_pointer:
      return kFetchPointer;
    case FileClass::packed:
      return "unpack it first";
    case FileClass::pickle:
      return "if you trust it, convert it in Python: safetensors.torch.save_file(torch.load(FILE, weights_only=True), "
             "\"model.safetensors\")";
    case FileClass::numpy_array:
      return "gather the weights by their names with safetensors.numpy.save_file";
    case FileClass::numpy_arrays:
      return "convert it in Python: safetensors.numpy.save_file(dict(numpy.load(FILE)), \"model.safetensors\")";
    case FileClass::weights:
      return "convert it to safetensors by the tools that wrote it";
    case FileClass::other:
    case FileClass::safetensors:
    case FileClass::unknown:
      break;
  }
  return "name the file of the weights";
}

// A link that leads nowhere too: opening it says so.
bool is_there(const fs::path& path) {
  std::error_code unknown;
  return fs::exists(fs::symlink_status(path, unknown));
}

fs::path in_folder(const fs::path& folder) {
  for (const std::string name : {kModelFile, kIndexFile})
    if (is_there(folder / name)) return folder / name;
  const auto* other = std::find_if(kOtherWeights.begin(), kOtherWeights.end(),
                                   [&](const char* name) { return is_there(folder / name); });
  const std::string neither = fmt::format("{} holds neither {} nor {}", folder.string(), kModelFile, kIndexFile);
  if (other == kOtherWeights.end()) throw Error(ExitCode::no_input, neither, "name the file of the weights");
  throw Error(ExitCode::no_input, fmt::format("{}, but {}, which is not read", neither, *other),
              "convert it to safetensors in Python: "
              "AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER, safe_serialization=True)");
}

}  // namespace

void check_may_be_safetensors(std::span<const std::byte> first_bytes, const fs::path& path) {
  const FileKind kind = kind_if_not_safetensors(first_bytes);
  if (kind.type == FileClass::unknown) return;
  throw Error(ExitCode::data, fmt::format("{} is not a valid safetensors file: it is {}", path.string(), kind.name),
              to_get_weights(kind.type));
}

WeightsFile find_weights(const fs::path& named) {
  std::error_code unknown;  // then opening it says why
  const fs::path path = fs::is_directory(named, unknown) ? in_folder(named) : named;
  const std::vector<std::byte> first = first_bytes(open_input(path), path);
  if (kind_if_not_safetensors(first).type == FileClass::json_object) return {path, true};
  check_may_be_safetensors(first, path);
  return {path, false};
}

}  // namespace ddp
