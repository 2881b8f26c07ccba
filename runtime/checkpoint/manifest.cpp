#include "runtime/checkpoint/manifest.h"

#include <fmt/core.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "runtime/base/hash.h"

namespace ddp {
namespace {

using Json = nlohmann::ordered_json;  // in writing order: the text, and so its hash, is a function of the values

constexpr int kFormatVersion = 2;
constexpr int kMaxDepth = 4;
// They stood beside "step" before there was a list of scalars: written there too, for the programs of that time.
constexpr const char* kAdamWScalars[] = {"beta1_power", "beta2_power"};
constexpr const char* kHashKey = "manifest_xxh3";

// A path in the configuration may not be UTF-8, which JSON must be: never a reason to lose a checkpoint.
std::string dump(const Json& json, int indent) { return json.dump(indent, ' ', false, Json::error_handler_t::replace); }

std::string hash_of(const Json& json) {
  const std::string text = dump(json, -1);
  return hash_text(xxh3(std::as_bytes(std::span(text))));
}

uint64_t parse_hash(const std::string& text) {
  uint64_t hash = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), hash, 16);
  if (error != std::errc() || end != text.data() + text.size())
    throw std::invalid_argument("\"" + text + "\" is no hash");
  return hash;
}

Manifest manifest_of(const Json& json) {
  Manifest manifest;
  TrainingState& state = manifest.state;
  state.next.attempted_step = json.at("step").get<uint32_t>() + 1;
  json.at("applied_steps").get_to(state.next.applied_steps);
  json.at("samples_seen").get_to(state.samples_seen);
  json.at("loss_scale").get_to(state.next.loss_scale);
  json.at("growth_count").get_to(state.next.growth_count);
  json.at("floor_skips").get_to(state.next.floor_skips);
  if (json.contains("optimizer"))
    json.at("optimizer").get_to(state.optimizer_scalars);
  else
    for (const char* name : kAdamWScalars) json.at(name).get_to(state.optimizer_scalars[name]);
  json.at("data_fingerprint").get_to(state.data_fingerprint);
  json.at("config_digest").get_to(state.config_digest);
  json.at("config").get_to(state.config_yaml);
  const Json& files = json.at("files");
  const auto take = [&](const char* name) {
    const Json& file = files.at(name);
    manifest.files[name] = {file.at("bytes").get<int64_t>(), parse_hash(file.at("xxh3").get<std::string>())};
  };
  for (const char* name : {kModelFile, kOptimizerFile}) take(name);
  for (const char* name : kTextFiles)
    if (files.contains(name)) take(name);
  return manifest;
}

}  // namespace

std::string manifest_text(const Manifest& manifest) {
  const TrainingState& state = manifest.state;
  Json json = {
      {"format_version", kFormatVersion},
      {"step", state.step()},
      {"applied_steps", state.next.applied_steps},
      {"samples_seen", state.samples_seen},
      {"loss_scale", state.next.loss_scale},  // the shortest decimals that read back to the same bits
      {"growth_count", state.next.growth_count},
      {"floor_skips", state.next.floor_skips},
      {"optimizer", state.optimizer_scalars},
      {"data_fingerprint", state.data_fingerprint},
      {"config_digest", state.config_digest},
      {"config", state.config_yaml},
      {"files", Json::object()},
  };
  for (const char* name : kAdamWScalars)
    if (const auto scalar = state.optimizer_scalars.find(name); scalar != state.optimizer_scalars.end())
      json[name] = scalar->second;
  for (const auto& [name, file] : manifest.files)
    json["files"][name] = {{"bytes", file.bytes}, {"xxh3", hash_text(file.xxh3)}};
  json[kHashKey] = hash_of(json);
  return dump(json, 2) + "\n";
}

Manifest parse_manifest(const std::string& text, const std::string& file) {
  try {
    // The parser takes a zero byte for the end.
    if (text.find('\0') != text.npos) throw std::invalid_argument("it has a zero byte");
    Json json = Json::parse(text, [](int depth, Json::parse_event_t, Json&) {
      if (depth > kMaxDepth) throw std::invalid_argument("it is nested too deeply");
      return true;
    });
    if (const int version = json.at("format_version"); version != kFormatVersion)
      throw std::invalid_argument(
          fmt::format("its format version is {}, this program reads {}", version, kFormatVersion));
    const std::string hash = json.at(kHashKey);
    json.erase(kHashKey);
    if (hash_of(json) != hash) throw std::invalid_argument("its contents do not match their own hash");
    return manifest_of(json);
  } catch (const Json::parse_error& where) {
    throw Error(ExitCode::data, fmt::format("{} is not a valid manifest: no JSON at byte {}", file, where.byte));
  } catch (const std::exception& why) {
    throw Error(ExitCode::data, file + " is not a valid manifest: " + why.what());
  }
}

}  // namespace ddp
