// From YAML text and overrides to a Config: which model, which key goes where, and which defaults depend on other keys.
#include "runtime/config/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "runtime/base/fs.h"
#include "runtime/config/fields.h"
#include "runtime/config/path_text.h"
#include "runtime/config/synonyms.h"
#include "runtime/config/value.h"
#include "runtime/config/yaml_tree.h"

namespace ddp {
namespace {

struct SplitKey {
  std::string section, key;  // of a top-level key the section is ""
};
SplitKey split(std::string_view full) {
  const size_t dot = full.find('.');
  if (dot == std::string_view::npos) return {"", std::string(full)};
  return {std::string(full.substr(0, dot)), std::string(full.substr(dot + 1))};
}

// "key.path=value" of the command line, or of `source`.
struct Override {
  std::string where, key;
  std::string_view value;  // of the text that it was made from

  explicit Override(std::string_view text, std::string_view source = "--set")
      : where(fmt::format("{} {}", source, text)) {
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos) throw config_error(where, "no value", "write --set key.path=value");
    key = text.substr(0, equals);
    value = text.substr(equals + 1);
  }
  YamlNode node() const { return read_yaml(value, {.name = where, .has_lines = false}); }
};

// "steps:3" is one word of YAML.
bool lacks_space(std::string_view text) {
  const size_t colon = text.find(':');
  return colon != std::string_view::npos && colon > 0 && colon + 1 < text.size() && text[colon + 1] != ' ';
}

const YamlNode* child(const YamlNode& node, std::string_view key) {
  for (const YamlNode& candidate : node.children)
    if (candidate.key == key) return &candidate;
  return nullptr;
}

// The model that the file names, or the last override; else that of the defaults, or the first of the registry.
const ModelKind& chosen_model(const ConfigRegistry& registry, const YamlNode& root,
                              std::span<const std::string> overrides, const Defaults& defaults) {
  constexpr std::string_view kKey = "model.name";
  const ModelKind* model = registry.models.front();
  const Field& field = *find_field(sections_of(*model), "model", "name");
  const auto choose = [&](const YamlNode& node) {
    model = find_model(registry, std::get<std::string>(read_value(field, std::string(kKey), node, registry)));
  };
  for (const std::string& text : defaults.values)
    if (const Override usual(text, defaults.source); usual.key == kKey) choose(usual.node());
  if (const YamlNode* section = child(root, "model"); section != nullptr)
    if (const YamlNode* name = child(*section, "name"); name != nullptr) choose(*name);
  for (const std::string& text : overrides)
    if (const Override given(text); given.key == kKey) choose(given.node());
  return *model;
}

// Who wrote what is read.
enum class Author : uint8_t {
  person,                    // paths are as somebody types them
  program,                   // this one
  perhaps_an_older_program,  // this one or an older version: retired keys mean what they mean now
};

// A path, or each of a list, as it is meant.
void read_paths(YamlNode& node, const std::string& key) {
  for (YamlNode& path : node.children) read_paths(path, key);
  if (node.kind == YamlNode::Kind::scalar) node.text = path_from_text(node.text, key, node.where);
}

class Builder {
 public:
  Builder(const ConfigRegistry& registry, const ModelKind& model, Author author)
      : registry_(registry),
        model_(model),
        sections_(sections_of(model)),
        author_(author),
        config_(initial_config(registry, model.name)) {}

  void apply_file(const YamlNode& root) {
    if (root.kind == YamlNode::Kind::null) return;
    if (root.kind != YamlNode::Kind::map)
      throw config_error(root.where, "not a map",
                         lacks_space(root.text) ? "write a space behind the colon, as key: value"
                                                : "a configuration is YAML, as section: {key: value}");
    for (const YamlNode& node : root.children) {
      if (is_section(node.key) || (node.kind == YamlNode::Kind::map && was_section(node.key)))
        apply_section(node);
      else
        set_field("", node.key, node.key_where, node);
    }
  }

  // A key of the top level.
  void apply_alone(const std::string& section, const YamlNode& node) {
    set_field(section, node.key, node.key_where, node);
  }

  void apply_override(const std::string& text) {
    const Override given(text);
    author_ = Author::person;
    if (is_section(given.key))
      throw config_error(given.where, given.key + " is a section", "name one of its keys: " + keys_of(given.key));
    const auto [section, key] = split(given.key);
    if (!section.empty() ? !is_section(section) && !was_section(section) : given.key.starts_with('.'))
      fail_unknown(given.where, given.key);
    set_field(section, key, given.where, given.node());
  }

  // As `--set output_dir=DIR`, of a DIR that is no YAML.
  void apply_output_dir(const std::string& folder) {
    const std::string where = "--output-dir";
    author_ = Author::person;
    set_field("", "output_dir", where, literal_scalar(folder, where));
  }

  void apply_defaults(const Defaults& defaults) {
    author_ = Author::program;
    if (given_.contains("model.preset") && !are_of_preset(defaults)) take_preset_as_given();
    for (const std::string& text : defaults.values) {
      Override usual(text, defaults.source);
      const auto [section, key] = split(usual.key);
      const Field* field = find_field(sections_, section, key);
      // Another model, optimizer or schedule than theirs may have been given.
      if (field == nullptr || !is_read(section, *field, config_)) continue;
      const auto bond = std::find_if(defaults.bonds.begin(), defaults.bonds.end(),
                                     [&](const Defaults::Bond& b) { return b.key == usual.key; });
      if (bond != defaults.bonds.end()) usual.where = bond->says;
      if (!given_.contains(usual.key))
        set_field(section, key, usual.where, usual.node());
      else if (bond != defaults.bonds.end())
        bound_.push_back({&*bond, field, read_value(*field, usual.key, usual.node(), registry_)});
    }
  }

  // As it is so far.
  const Config& config() const { return config_; }

  // Dependent defaults and required keys; `root` is where a missing key belongs.
  Config finish(const YamlNode& root) {
    for (const RetiredKey* retired : to_multiply_) multiply(*retired);
    model_.resolve(config_, given_);
    for (const Bound& bound : bound_) check(bound);
    if (config_.optimizer.name == OptimizerName::sgd && !given_.contains("optimizer.weight_decay"))
      config_.optimizer.weight_decay = 0;  // what sgd adds to the gradient is another quantity than AdamW's
    if (config_.data.augment == Augment::automatic)
      config_.data.augment = data_format(config_).augment.value_or(Augment::automatic);
    for (const KeySection& section : sections_)
      for (const Field* field : section.fields) {
        const std::string key = full_key(section.name, field->key);
        if (!field->required || given_.contains(key)) continue;
        const YamlNode* place = section.name.empty() ? nullptr : child(root, section.name);
        throw config_error(place == nullptr ? root.where : place->key_where, key + " is missing",
                           fmt::format("it is {}", field->meaning));
      }
    return config_;
  }

 private:
  bool is_section(std::string_view name) const {
    return !name.empty() && std::any_of(sections_.begin(), sections_.end(),
                                        [&](const KeySection& section) { return section.name == name; });
  }
  // A section all of whose keys are retired.
  bool was_section(std::string_view name) const {
    return std::any_of(registry_.retired.begin(), registry_.retired.end(),
                       [&](const RetiredKey& retired) { return split(retired.key).section == name; });
  }
  const RetiredKey* find_retired(std::string_view key) const {
    const auto at = std::find_if(registry_.retired.begin(), registry_.retired.end(),
                                 [&](const RetiredKey& retired) { return retired.key == key; });
    return at == registry_.retired.end() ? nullptr : &*at;
  }

  // Then they hold what it sets, and what somebody set beside it.
  bool are_of_preset(const Defaults& defaults) const {
    const Field& field = *find_field(sections_, "model", "preset");
    return std::ranges::any_of(defaults.values, [&](const std::string& text) {
      const Override usual(text, defaults.source);
      return usual.key == "model.preset" &&
             read_value(field, usual.key, usual.node(), registry_) == field.at.get(config_);
    });
  }

  void take_preset_as_given() {
    Config preset = config_;
    model_.resolve(preset, given_);
    for (const std::string_view key : model_.preset_keys) {
      const Access& at = find_field(sections_, "model", key)->at;
      at.set(config_, at.get(preset));
      if (const std::string full = full_key("model", key); given_.insert(full).second)
        where_[full] = where_["model.preset"];
    }
  }

  // A given key, and what it must be.
  struct Bound {
    const Defaults::Bond* bond;
    const Field* field;
    Value wanted;
  };
  void check(const Bound& bound) const {
    const Value value = bound.field->at.get(config_);
    if (value == bound.wanted) return;
    const Defaults::Bond& bond = *bound.bond;
    if (bond.may_be_less && std::get<int64_t>(value) < std::get<int64_t>(bound.wanted)) return;
    throw config_error(
        where_.at(bond.key), fmt::format("{} is {}, and {}", bond.key, print_value(value), bond.says),
        fmt::format("leave it out{}, or start from other weights", bond.may_be_less ? ", give less" : ""));
  }

  static std::string advice(const RetiredKey& retired) {
    if (retired.now.empty()) return "remove it: it has no effect any more";
    return retired.times.empty() ? fmt::format("use {}", retired.now)
                                 : fmt::format("use {}: this value times {}", retired.now, retired.times);
  }
  // Makes of what was set as a retired key's what the key of today means by it.
  void multiply(const RetiredKey& retired) {
    const auto field_of = [&](std::string_view full) -> const Field& {
      const auto [section, key] = split(full);
      return *find_field(sections_, section, key);
    };
    const Access &now = field_of(retired.now).at, &times = field_of(retired.times).at;
    now.set(config_, std::get<int64_t>(now.get(config_)) * std::get<int64_t>(times.get(config_)));
  }

  std::string keys_of(std::string_view name) const {
    std::string keys;
    for (const KeySection& section : sections_)
      if (section.name == name)
        for (const Field* field : section.fields) keys += (keys.empty() ? "" : ", ") + std::string(field->key);
    return keys;
  }

  // The names of the models that have the key where this one has not, as "a, b".
  std::string owners_of(const std::string& full) const {
    const auto [section, key] = split(full);
    if (find_field(sections_, section, key) != nullptr) return {};
    std::vector<std::string_view> owners;
    for (const ModelKind* other : registry_.models)
      if (find_field(sections_of(*other), section, key) != nullptr) owners.push_back(other->name);
    return fmt::format("{}", fmt::join(owners, ", "));
  }

  // What to do about a key that other trainers have; empty where it is none, or this model has nothing like it.
  std::string name_here(std::string_view key) const {
    const Synonym* synonym = find_synonym(key);
    const std::string last = split(key).key;
    if (!last.empty() && last.find_first_not_of("0123456789") == std::string::npos)  // of {steps: 1,000}
      return "write numbers without separators";
    if (synonym == nullptr) return {};
    if (synonym->key.empty()) return std::string(synonym->how);
    const auto [section, name] = split(synonym->key);
    if (find_field(sections_, section, name) == nullptr && !is_section(synonym->key)) return {};
    return fmt::format("use {}{}{}", synonym->key, synonym->how.empty() ? "" : ": ", synonym->how);
  }

  [[noreturn]] void fail_unknown(const std::string& where, const std::string& key) const {
    if (const RetiredKey* retired = find_retired(key); retired != nullptr)
      throw config_error(where, key + " is a key of earlier versions", advice(*retired));
    if (const std::string owners = owners_of(key); !owners.empty())
      throw config_error(where, fmt::format("{} is a key of model {}, and model.name is {}", key, owners, model_.name),
                         "remove it, or set model.name");
    if (const std::string here = name_here(key); !here.empty())
      throw config_error(where, "unknown key " + in_quotes(key), here);
    const std::string nearest = nearest_key(sections_, key);
    throw config_error(where, "unknown key " + in_quotes(key),
                       nearest == key ? "write it nested, as section: {key: value}" : "did you mean " + nearest + "?");
  }

  void apply_section(const YamlNode& node) {
    if (node.kind == YamlNode::Kind::null) return;  // all its keys are commented out
    if (node.kind != YamlNode::Kind::map)
      throw config_error(node.where, node.key + " is a section",
                         lacks_space(node.text) ? "write a space behind the colon, as key: value"
                                                : "write its keys below it: " + keys_of(node.key));
    for (const YamlNode& value : node.children) set_field(node.key, value.key, value.key_where, value);
  }

  void set_field(const std::string& section, const std::string& key, const std::string& where, const YamlNode& value) {
    const std::string path = full_key(section, key);
    const Field* field = find_field(sections_, section, key);
    if (field == nullptr) {
      const RetiredKey* retired = author_ == Author::program ? nullptr : find_retired(path);
      const bool is_typed = author_ == Author::person;
      if (retired == nullptr || (is_typed && retired->times.empty())) fail_unknown(where, path);
      if (is_typed)
        config_.notes.push_back(
            fmt::format("{}: {} is a key of earlier versions, and read so ({})", where, path, advice(*retired)));
      if (retired->now.empty()) return;
      if (!retired->times.empty()) to_multiply_.push_back(retired);
      const SplitKey now = split(retired->now);
      return set_field(now.section, now.key, where, value);
    }
    YamlNode meant = value;
    if (author_ == Author::person && is_path(*field)) read_paths(meant, path);
    field->at.set(config_, read_value(*field, path, meant, registry_));
    given_.insert(path);
    where_[path] = where;
  }

  const ConfigRegistry& registry_;
  const ModelKind& model_;
  std::vector<KeySection> sections_;
  Author author_;
  Config config_;
  GivenKeys given_;
  std::map<std::string, std::string> where_;  // of the given keys, where they stand
  std::vector<Bound> bound_;
  std::vector<const RetiredKey*> to_multiply_;  // that were set
};

Config parse(std::string_view text, const std::string& name, const ConfigRegistry& registry,
             std::span<const std::string> overrides, const std::string& output_dir, const Defaults& defaults,
             Author author) {
  const YamlNode root = read_yaml(text, {.name = name});
  Builder builder(registry, chosen_model(registry, root, overrides, defaults), author);
  builder.apply_file(root);
  for (const std::string& text_of_override : overrides) builder.apply_override(text_of_override);
  if (!output_dir.empty()) builder.apply_output_dir(output_dir);
  builder.apply_defaults(defaults);
  return builder.finish(root);
}

// A configuration that is typed. Its size comes first: it may be a data file, of any.
std::string read_file(const std::filesystem::path& file) {
  if (std::filesystem::is_directory(file))
    throw Error(ExitCode::no_input, file.string() + " is a folder, and no configuration",
                std::filesystem::exists(file / "config.yaml") ? "its run's is " + (file / "config.yaml").string()
                                                              : "name a file like train.yaml");
  if (file.extension() == ".py")
    throw config_error(file.string(), "a Python file", "a configuration is YAML, as section: {key: value}");
  check_yaml_size(file_size(open_input(file), file), file.string());
  return read_text(file);
}

// One key of a typed configuration, whatever else is in it.
void apply_alone(Builder& builder, const std::filesystem::path& file, std::string_view key,
                 std::span<const std::string> overrides) {
  const YamlNode root = read_yaml(read_file(file), {.name = file.string()});
  const auto [section, last] = split(key);
  const YamlNode* place = section.empty() ? &root : child(root, section);
  if (place != nullptr)
    if (const YamlNode* given = child(*place, last); given != nullptr) builder.apply_alone(section, *given);
  for (const std::string& text : overrides)
    if (Override(text).key == key) builder.apply_override(text);
}

}  // namespace

std::string PathList::text() const {
  if (empty()) return {};
  return paths.front() + (paths.size() > 1 ? fmt::format(" and {} more", paths.size() - 1) : "");
}

const ModelKind* find_model(const ConfigRegistry& registry, std::string_view name) {
  for (const ModelKind* model : registry.models)
    if (model->name == name) return model;
  return nullptr;
}

const ModelKind& model_kind(const Config& config) {
  DDP_CHECK(config.registry != nullptr, "a configuration that was not read");
  const ModelKind* model = find_model(*config.registry, config.model.name);
  DDP_CHECK(model != nullptr, "model {}", config.model.name);
  return *model;
}

const DataFormat& data_format(const Config& config) {
  DDP_CHECK(config.registry != nullptr, "a configuration that was not read");
  for (const DataFormat& format : config.registry->formats)
    if (format.name == config.data.format) return format;
  DDP_CHECK(false, "data format {}", config.data.format);
  return config.registry->formats.front();
}

std::map<std::string, std::string> exported_files(const Config& config) {
  const auto write = model_kind(config).export_files;
  return write == nullptr ? std::map<std::string, std::string>() : write(config);
}

Config initial_config(const ConfigRegistry& registry, std::string_view name) {
  const ModelKind* model = name.empty() ? registry.models.front() : find_model(registry, name);
  DDP_CHECK(model != nullptr, "model {}", name);
  Config config;
  config.registry = &registry;
  config.model.name = model->name;
  config.model.options = model->initial_options();
  return config;
}

Config load_config(const std::filesystem::path& file, const ConfigRegistry& registry,
                   std::span<const std::string> overrides, const std::string& output_dir, const Defaults& defaults) {
  return parse(read_file(file), file.string(), registry, overrides, output_dir, defaults, Author::person);
}

std::string load_output_dir(const std::filesystem::path& file, const ConfigRegistry& registry,
                            std::span<const std::string> overrides, const std::string& output_dir) {
  Builder builder(registry, *registry.models.front(), Author::person);
  apply_alone(builder, file, "output_dir", overrides);
  if (!output_dir.empty()) builder.apply_output_dir(output_dir);
  return builder.config().output_dir;
}

std::string load_init_from(const std::filesystem::path& file, const ConfigRegistry& registry,
                           std::span<const std::string> overrides) {
  Builder builder(registry, *registry.models.front(), Author::person);
  apply_alone(builder, file, "model.init_from", overrides);
  return builder.config().model.init_from;
}

Config parse_config(std::string_view text, const std::string& name, const ConfigRegistry& registry,
                    std::span<const std::string> overrides, const std::string& output_dir, const Defaults& defaults) {
  return parse(text, name, registry, overrides, output_dir, defaults, Author::program);
}

Config parse_stored_config(std::string_view text, const std::string& name, const ConfigRegistry& registry,
                           std::span<const std::string> overrides) {
  return parse(text, name, registry, overrides, {}, {}, Author::perhaps_an_older_program);
}

}  // namespace ddp
