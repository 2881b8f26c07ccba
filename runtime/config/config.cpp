// From YAML text and overrides to a Config: which key goes where, and which defaults depend on other keys.
#include "runtime/config/config.h"

#include <fmt/core.h>

#include <set>

#include "runtime/base/fs.h"
#include "runtime/config/fields.h"
#include "runtime/config/value.h"
#include "runtime/config/yaml_tree.h"

namespace ddp {
namespace {

struct Preset {
  std::string_view name;
  int64_t layers, heads, width;
};

// Radford et al. 2019, table 2, with heads of 64 channels.
constexpr Preset kPresets[] = {
    {"gpt2-small", 12, 12, 768},
    {"gpt2-medium", 24, 16, 1024},
    {"gpt2-large", 36, 20, 1280},
    {"gpt2-xl", 48, 25, 1600},
};
constexpr int64_t kPresetContext = 1024, kPresetVocab = 50257;

class Builder {
 public:
  void apply_file(const YamlNode& root) {
    if (root.kind == YamlNode::Kind::null) return;
    if (root.kind != YamlNode::Kind::map) throw config_error(root.where, "not a map", "write section: {key: value}");
    for (const YamlNode& child : root.children) {
      const Section* section = child.key.empty() ? nullptr : find_section(child.key);
      if (section == nullptr)
        set_field(*find_section(""), child.key, child.key_where, child);
      else
        apply_section(*section, child);
    }
  }

  void apply_override(const std::string& text) {
    const std::string where = "--set " + text;
    const size_t equals = text.find('=');
    if (equals == std::string::npos) throw config_error(where, "no value", "write --set key.path=value");
    const std::string key = text.substr(0, equals);
    const size_t dot = key.find('.');
    const Section* section = find_section(dot == std::string::npos ? "" : key.substr(0, dot));
    if (section == nullptr || dot == 0) fail_unknown(where, key);
    if (!key.empty() && find_section(key) != nullptr)
      throw config_error(where, key + " is a section", "name one of its keys: " + keys_of(*find_section(key)));
    const YamlNode value = read_yaml(std::string_view(text).substr(equals + 1), {.name = where, .has_lines = false});
    set_field(*section, dot == std::string::npos ? key : key.substr(dot + 1), where, value);
  }

  // As `--set output_dir=DIR` with every sign of DIR standing for itself.
  void apply_output_dir(const std::string& folder) {
    const std::string where = "--output-dir";
    set_field(*find_section(""), "output_dir", where, literal_scalar(folder, where));
  }

  // Presets, dependent defaults and required keys; `root` is where a missing key belongs.
  Config finish(const YamlNode& root) {
    for (const Preset& preset : kPresets)
      if (preset.name == config_.model.preset) expand(preset);
    if (config_.data.format == "bytes" && config_.model.preset.empty())
      set_default("model.vocab", config_.model.vocab, kBytesVocab);
    for_each_field([&](const Section& section, const Field& field) {
      const std::string key = full_key(section, field);
      if (!field.required || given_.contains(key)) return;
      const YamlNode* place = &root;
      for (const YamlNode& child : root.children)
        if (child.key == section.name) place = &child;
      throw config_error(place == &root ? root.where : place->key_where, key + " is missing",
                         fmt::format("it is {}", field.meaning));
    });
    return config_;
  }

 private:
  static std::string keys_of(const Section& section) {
    std::string keys;
    for (const Field& field : section.fields) keys += (keys.empty() ? "" : ", ") + std::string(field.key);
    return keys;
  }

  [[noreturn]] static void fail_unknown(const std::string& where, const std::string& key) {
    const std::string nearest = nearest_key(key);
    throw config_error(where, "unknown key " + in_quotes(key),
                       nearest == key ? "write it nested, as section: {key: value}" : "did you mean " + nearest + "?");
  }

  void apply_section(const Section& section, const YamlNode& node) {
    if (node.kind == YamlNode::Kind::null) return;  // all its keys are commented out
    if (node.kind != YamlNode::Kind::map)
      throw config_error(node.where, node.key + " is a section", "write its keys below it: " + keys_of(section));
    for (const YamlNode& child : node.children) set_field(section, child.key, child.key_where, child);
  }

  void set_field(const Section& section, const std::string& key, const std::string& where, const YamlNode& value) {
    const std::string path = section.name.empty() ? key : std::string(section.name) + "." + key;
    const Field* field = find_field(section, key);
    if (field == nullptr) fail_unknown(where, path);
    field->at.set(config_, read_value(*field, path, value));
    given_.insert(path);
  }

  void set_default(const std::string& key, int64_t& target, int64_t value) const {
    if (!given_.contains(key)) target = value;
  }

  void expand(const Preset& preset) {
    ModelConfig& m = config_.model;
    set_default("model.layers", m.layers, preset.layers);
    set_default("model.heads", m.heads, preset.heads);
    set_default("model.width", m.width, preset.width);
    set_default("model.context", m.context, kPresetContext);
    set_default("model.vocab", m.vocab, kPresetVocab);
  }

  Config config_;
  std::set<std::string> given_;  // full keys that the file or an override set
};

}  // namespace

Config load_config(const std::filesystem::path& file, std::span<const std::string> overrides,
                   const std::string& output_dir) {
  // Before reading: it may be a data file, of any size.
  check_yaml_size(file_size(open_input(file), file), file.string());
  return parse_config(read_text(file), file.string(), overrides, output_dir);
}

Config parse_config(std::string_view text, const std::string& name, std::span<const std::string> overrides,
                    const std::string& output_dir) {
  const YamlNode root = read_yaml(text, {.name = name});
  Builder builder;
  builder.apply_file(root);
  for (const std::string& text_of_override : overrides) builder.apply_override(text_of_override);
  if (!output_dir.empty()) builder.apply_output_dir(output_dir);
  return builder.finish(root);
}

}  // namespace ddp
