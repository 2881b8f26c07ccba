#include "launcher/past.h"

#include <errno.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <ranges>
#include <vector>

#include "launcher/resume.h"
#include "runtime/base/error.h"
#include "runtime/base/fs.h"
#include "runtime/base/run_files.h"
#include "runtime/base/shell_word.h"
#include "runtime/config/path_text.h"
#include "runtime/config/resume_changes.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;

bool is_checkpoint(const fs::path& path) { return ::access((path / kManifestFile).c_str(), R_OK) == 0; }

Past past_at(const fs::path& checkpoint, const ConfigRegistry& registry) {
  const fs::path manifest = checkpoint / kManifestFile;
  return {checkpoint, parse_stored_config(config_in(manifest), manifest.string(), registry)};
}

// As far as the names and sizes of its files go.
bool looks_whole(const fs::path& checkpoint) {
  try {
    const nlohmann::json manifest = nlohmann::json::parse(read_text(checkpoint / kManifestFile));
    return std::ranges::all_of(manifest.at("files").items(), [&](const auto& file) {
      return fs::file_size(checkpoint / file.key()) == file.value().at("bytes").template get<uintmax_t>();
    });
  } catch (const std::exception&) {
    return false;
  }
}

// Of a folder of checkpoints. Empty: there is none that looks whole.
fs::path newest_whole(const fs::path& folder) {
  for (const fs::path& checkpoint : checkpoints_in(folder) | std::views::reverse)
    if (looks_whole(checkpoint)) return checkpoint;
  return {};
}

// The words that give keys the values of the run.
std::string kept(std::span<const KeyChange> changes) {
  std::string words;
  for (const KeyChange& change : changes)
    words += (words.empty() ? "" : " ") + ("--set " + shell_word(change.key + "=" + change.before));
  return words;
}

}  // namespace

std::string config_in(const fs::path& manifest) {
  const std::string text = read_text(manifest);
  try {
    return nlohmann::json::parse(text).at("config");
  } catch (const nlohmann::json::exception& why) {
    throw Error(ExitCode::data, fmt::format("{} is not a valid manifest: {}", manifest.string(), why.what()));
  }
}

std::string resume_source(const std::string& typed) {
  if (typed == "auto" || typed == "none") return typed;
  const fs::path path = path_from_text(typed, "PATH", "--resume");
  if (is_checkpoint(path)) return path.string();
  const int error = errno;
  if (std::error_code none; fs::is_regular_file(path, none))
    throw Error(ExitCode::no_input, fmt::format("--resume: {} is a file", path.string()),
                "name the folder of a checkpoint, like runs/x/checkpoints/step-00000100");
  for (const fs::path& folder : {path / "checkpoints", path})
    if (const fs::path newest = newest_whole(folder); !newest.empty()) return newest.string();
  throw Error(ExitCode::no_input,
              fmt::format("--resume: cannot open {}: {}", (path / kManifestFile).string(), errno_text(error)),
              "use auto, none, a run's folder, or one like runs/x/checkpoints/step-00000100");
}

std::optional<Past> find_past(const fs::path& run_folder, const std::string& resume, const ConfigRegistry& registry) {
  if (resume == "none") return std::nullopt;
  if (resume != "auto") return past_at(resume, registry);
  const fs::path folder = run_folder / "checkpoints";
  const std::vector<fs::path> own = checkpoints_in(folder);
  if (!own.empty()) {
    const fs::path newest = newest_whole(folder);
    if (!newest.empty()) return past_at(newest, registry);
    throw Error(ExitCode::data, fmt::format("none of the {} checkpoints in {} is intact", own.size(), folder.string()),
                "restore one from a copy, or start afresh in another output_dir");
  }
  const std::optional<std::string> origin = origin_of(run_folder);
  return origin ? std::optional(past_at(*origin, registry)) : std::nullopt;
}

void check_changes(const Past& past, const Config& now, std::span<const std::string> accepted,
                   const std::function<std::string(std::string_view keys)>& with_accepted) {
  const std::vector<KeyChange> conflicts = conflicts_of(resume_changes(past.config, now), accepted);
  if (conflicts.empty()) return;
  const auto refuse = [&](std::span<const KeyChange> which, const std::string& why, const std::string& hint) {
    throw Error(
        ExitCode::config,
        fmt::format("cannot resume {} with another configuration: {}{}", past.checkpoint.string(), listed(which), why),
        hint);
  };
  std::vector<KeyChange> impossible;
  std::vector<std::string> keys(accepted.begin(), accepted.end());
  for (const KeyChange& change : conflicts) {
    if (change.needs == KeyChange::Needs::another_run) impossible.push_back(change);
    keys.push_back(change.key);
  }
  if (!impossible.empty())
    refuse(impossible, ", which the state of the run does not fit",
           fmt::format("keep it: {}, or start another run in another --output-dir", kept(impossible)));
  refuse(conflicts, "",
         fmt::format("keep what the run has: {}; or change it from here on: {}", kept(conflicts),
                     with_accepted(fmt::format("{}", fmt::join(keys, ",")))));
}

}  // namespace ddp
