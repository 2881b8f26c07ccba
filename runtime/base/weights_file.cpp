#include "runtime/base/weights_file.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "runtime/base/error.h"
#include "runtime/base/foreign_file.h"
#include "runtime/base/run_files.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndexFile = "model.safetensors.index.json";

// Weights in formats that are not read, by the names that others give them in a folder.
constexpr std::array kOtherWeights = {"pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt",
                                      "tf_model.h5",       "flax_model.msgpack",           "model.ckpt.index"};

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

std::string first_bytes(const Fd& file, const fs::path& path) {
  std::string bytes(size_t(std::min(file_size(file, path), int64_t(kRecognisedBytes))), '\0');
  read_exact(file, std::as_writable_bytes(std::span(bytes)), 0, path);
  return bytes;
}

void check_not_foreign(std::string_view beginning, const fs::path& path) {
  if (const std::optional<ForeignFile> foreign = recognise_foreign(beginning))
    throw Error(ExitCode::data,
                fmt::format("{} is not a valid safetensors file: it is {}", path.string(), foreign->what),
                foreign->hint);
}

WeightsFile find_weights(const fs::path& named) {
  std::error_code unknown;  // then opening it says why
  const fs::path path = fs::is_directory(named, unknown) ? in_folder(named) : named;
  const std::string beginning = first_bytes(open_input(path), path);
  if (is_json(beginning)) return {path, true};
  check_not_foreign(beginning, path);
  return {path, false};
}

}  // namespace ddp
