#include "launcher/defaults.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "runtime/base/error.h"
#include "runtime/base/fs.h"
#include "runtime/base/run_files.h"
#include "runtime/config/json_object.h"
#include "runtime/config/yaml_tree.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;

// Where config.json would lie.
fs::path beside(const fs::path& weights) {
  std::error_code none;
  return (fs::is_directory(weights, none) ? weights : weights.parent_path()) / kModelConfigFile;
}

void tell_unknown(const std::string& file, const std::vector<std::string>& keys) {
  constexpr size_t kNamed = 5;
  if (keys.empty()) return;
  std::string names;
  for (size_t i = 0; i < std::min(keys.size(), kNamed); ++i) names += (i == 0 ? "" : ", ") + in_quotes(keys[i]);
  if (keys.size() > kNamed) names += fmt::format(" and {} more", keys.size() - kNamed);
  fmt::print(stderr, "ddp-launch: {}: without effect, since ddp-launch does not know it: {}\n", file, names);
}

// Of the model that the file is of; of a file that does not say it, or of a model whose file nobody reads, the
// configuration's, which `configured` returns.
const ModelKind* reader_of(const JsonObject& json, const std::string& file, const ConfigRegistry& registry,
                           const std::function<const ModelKind&()>& configured) {
  const auto type = json.find("model_type");
  if (type == json.end()) return &configured();
  std::string readable;
  for (const ModelKind* model : registry.models) {
    const bool is_read = model->import_json != nullptr;
    if (model->name == type->second.text && (is_read || model == &configured())) return model;
    if (is_read) readable += (readable.empty() ? "" : ", ") + std::string(model->name);
  }
  throw config_error(file, "model_type is " + type->second.shown(), "weights of these can be used: " + readable);
}

}  // namespace

Defaults defaults_beside_weights(const TrainOptions& options, const ConfigRegistry& registry) {
  const std::string weights = load_init_from(options.config_file, registry, options.overrides);
  if (weights.empty()) return {};
  const fs::path path = beside(weights);
  std::error_code none;
  if (!fs::exists(fs::symlink_status(path, none))) return {};  // a link to nothing is one that cannot be opened
  const std::string file = path.string(), text = read_text(path);
  const auto configured = [&]() -> const ModelKind& {
    return model_kind(load_config(options.config_file, registry, options.overrides, options.output_dir));
  };
  const ModelKind* model = reader_of(read_json_object(text, file), file, registry, configured);
  if (model->import_json == nullptr) return {};
  ImportedConfig imported = model->import_json(text, file);
  tell_unknown(file, imported.unknown);
  return std::move(imported.defaults);
}

}  // namespace ddp
