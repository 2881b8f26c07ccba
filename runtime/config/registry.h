// What a configuration may name that runtime/config does not know itself: models with their keys, formats of data. The
// caller passes it as a value, so that a test's programs read configurations of a longer list.
#pragma once

#include <any>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/config/choices.h"

namespace ddp {

struct Config;
struct ImportedConfig;
struct Section;

// Of a folder with weights: the model's sizes and forms, in JSON.
inline constexpr const char* kModelConfigFile = "config.json";

// Full keys that a file or an override set.
using GivenKeys = std::set<std::string, std::less<>>;

// A model as far as its configuration goes. `Config::model.options` holds a value of its own type, a copyable struct.
struct ModelKind {
  std::string_view name;  // of model.name
  // Its keys: each section has the name of one of the common ones.
  std::span<const Section> sections;
  std::any (*initial_options)();
  // Dependent defaults: what a key that was not given becomes. Errors: none.
  void (*resolve)(Config& config, const GivenKeys& given);
  // The keys that a preset sets, within their section, "model".
  std::span<const std::string_view> preset_keys = {};
  // Its values against each other and against the rest. Errors: config (78).
  void (*check)(const Config& config);
  // What transformers reads and writes beside the weights of a model of this name; nullptr: it has none that takes
  // them. export_files: texts by the names of their files, among them kModelConfigFile. import_json: what such a file
  // says; `name` stands for it in errors. Errors: config (78), naming what cannot be computed.
  std::map<std::string, std::string> (*export_files)(const Config& config) = nullptr;
  ImportedConfig (*import_json)(std::string_view text, const std::string& name) = nullptr;
  // A micro-batch is normalised by its own statistics (batch norm), so that train.micro_batch determines the result.
  bool normalises_batches = false;
  // Samples that a micro-batch has at least, since fewer have no variance; nullptr: one.
  int64_t (*least_micro_batch)(const Config& config) = nullptr;
  bool convolves = false;        // on CUDA it needs cuDNN
  bool counts_accuracy = false;  // its evaluation counts top-1 and top-5 (Model::num_eval_sums)
};

// What data.train and data.valid name.
enum class DataPath : uint8_t { none, file, folder, file_or_folder };

// A format of data files, a value of data.format.
struct DataFormat {
  std::string_view name;
  int64_t vocab = 0;  // tokens that a file may hold; 0: any
  DataPath path = DataPath::file;
  bool has_shards = false;              // several files are read as one
  std::optional<Augment> augment = {};  // of pictures: what data.augment auto means; nothing: there is none to choose
};
inline constexpr DataFormat kDataFormats[] = {
    {.name = "bytes", .vocab = 256, .has_shards = true},
    {.name = "tokens", .has_shards = true},
    {.name = "labelled", .has_shards = true},
    {.name = "images", .path = DataPath::folder, .augment = Augment::resized_crop},
    {.name = "idx", .augment = Augment::none},
    {.name = "cifar10", .path = DataPath::file_or_folder, .augment = Augment::shift},
    {.name = "cifar100", .path = DataPath::file_or_folder, .augment = Augment::shift},
    {.name = "synthetic", .path = DataPath::none}};

// A key of the past. In a stored text (a manifest, a run's config.yaml) it means what it says here; a user is told the
// new key: by an error, or, where more than its name has changed (`times`), by a note, and it means that there too.
struct RetiredKey {
  std::string_view key;
  std::string_view now;         // the key that takes its value; empty: it has no effect any more
  std::string_view times = {};  // the key that its value is multiplied by for that, both integers; empty: by nothing
};

// What it names outlives it, and every configuration that was read with it.
struct ConfigRegistry {
  std::span<const ModelKind* const> models;  // not empty; the first is the default
  std::span<const DataFormat> formats = kDataFormats;
  std::span<const RetiredKey> retired = {};
};

const ModelKind* find_model(const ConfigRegistry& registry, std::string_view name);  // nullptr: none

}  // namespace ddp
