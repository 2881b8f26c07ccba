#include "launcher/resume.h"

#include <errno.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "launcher/run_folder.h"
#include "runtime/base/error.h"
#include "runtime/base/fs.h"
#include "runtime/base/is_there.h"
#include "runtime/base/run_files.h"
#include "runtime/base/text_check.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;
using FileId = std::pair<dev_t, ino_t>;

constexpr const char* kOriginFile = "resumed_from";

std::optional<FileId> file_id(const fs::path& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return std::nullopt;
  return FileId(info.st_dev, info.st_ino);
}

// The name of a checkpoint's folder, also of one that ddp-rank will put back in its place.
std::string_view name_of_checkpoint(std::string_view name) {
  if (name.starts_with(kReplacedPrefix)) name.remove_prefix(kReplacedPrefix.size());
  return name;
}

// -1: it has none in its name.
int64_t step_of(std::string_view name) { return step_of_name(name_of_checkpoint(name)); }

struct OwnCheckpoint {
  int64_t step;
  FileId id;
  fs::path path;
};

// What lies in a run's folder, as far as a resume goes.
struct Holdings {
  std::vector<OwnCheckpoint> checkpoints;  // oldest first
  bool has_best = false, has_abandoned = false, has_metrics = false, has_origin = false;

  bool is_run() const { return !checkpoints.empty() || has_best || has_abandoned || has_metrics || has_origin; }
};

void look_into_checkpoints(const fs::path& checkpoints, Holdings& held) {
  std::error_code error;
  for (fs::directory_iterator at(checkpoints, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    held.has_abandoned |= name.starts_with(kAbandonedPrefix);
    held.has_best |= name_of_checkpoint(name) == kBestName;
    const int64_t step = step_of(name);
    std::error_code no_folder;
    if (step < 0 || !at->is_directory(no_folder)) continue;
    if (const auto id = file_id(at->path())) held.checkpoints.push_back({step, *id, at->path()});
  }
  // What cannot be read must not look like a run without checkpoints.
  if (error && error != std::errc::no_such_file_or_directory)
    throw cannot_create("cannot read " + checkpoints.string(), error.value());
  std::sort(held.checkpoints.begin(), held.checkpoints.end(),
            [](const OwnCheckpoint& a, const OwnCheckpoint& b) { return a.step < b.step; });
}

Holdings look_into(const fs::path& folder) {
  Holdings held;
  held.has_metrics = is_there(folder / kMetricsFile);
  held.has_origin = is_there(folder / kOriginFile);
  look_into_checkpoints(folder / "checkpoints", held);
  return held;
}

std::string read_origin(const fs::path& folder) {
  const fs::path file = folder / kOriginFile;
  std::string origin = read_text(file);
  if (origin.ends_with('\n')) origin.pop_back();
  if (!origin.starts_with('/') || find_text_flaw(origin, TextForm::name))
    throw Error(ExitCode::data, fmt::format("{} does not hold the path of a checkpoint", file.string()),
                "write it there, or start afresh in another --output-dir");
  return origin;
}

void check_is_there(const std::string& origin, const fs::path& folder) {
  const fs::path manifest = fs::path(origin) / kManifestFile;
  if (::access(manifest.c_str(), R_OK) == 0) return;
  throw Error(ExitCode::no_input,
              fmt::format("{} has no checkpoint of its own, and comes from {}: cannot open {}: {}", folder.string(),
                          origin, manifest.string(), errno_text(errno)),
              fmt::format("bring that checkpoint back, write its new place to {}, or start afresh in another "
                          "--output-dir",
                          (folder / kOriginFile).string()));
}

Error another_run(const std::string& what, const std::string& with_auto) {
  return Error(ExitCode::cannot_create, what, "go on with it: " + with_auto + "; or choose another --output-dir");
}

}  // namespace

std::vector<fs::path> checkpoints_in(const fs::path& folder) {
  Holdings held;
  look_into_checkpoints(folder, held);
  std::vector<fs::path> paths;
  for (const OwnCheckpoint& checkpoint : held.checkpoints) paths.push_back(checkpoint.path);
  return paths;
}

std::optional<std::string> origin_of(const fs::path& run_folder) {
  if (!is_there(run_folder / kOriginFile)) return std::nullopt;
  std::string origin = read_origin(run_folder);
  check_is_there(origin, run_folder);
  return origin;
}

Resume::Resume(const fs::path& folder, const std::string& wanted, const std::string& with_auto)
    : folder_(folder), wanted_(wanted), for_ranks_(wanted), source_(Source::none) {
  const Holdings held = look_into(folder);
  enters_run_ = held.is_run();
  if (held.has_origin) origin_before_ = read_text(folder / kOriginFile);
  if (wanted == "none") {
    if (held.is_run()) throw another_run(folder.string() + " already holds a run", with_auto);
    return;
  }
  if (wanted == "auto") {
    source_ = Source::newest;
    if (held.checkpoints.empty() && held.has_origin) {
      source_ = Source::elsewhere;
      for_ranks_ = origin_of(folder).value_or(wanted);
    }
    return;
  }
  // By device and inode: a folder has many names.
  std::error_code error;
  const fs::path checkpoint = fs::canonical(wanted, error), parent = checkpoint.parent_path();
  if (error) throw Error(ExitCode::no_input, fmt::format("--resume: cannot open {}: {}", wanted, error.message()));
  const std::optional<FileId> own = file_id(folder / "checkpoints");
  from_step_ = step_of(checkpoint.filename().string());
  from_id_ = file_id(checkpoint).value_or(FileId());
  if (own && file_id(parent) == own) {
    source_ = Source::own;
  } else if (own && parent.filename().string().starts_with(kAbandonedPrefix) && file_id(parent.parent_path()) == own) {
    source_ = Source::abandoned;
    origin_ = checkpoint.string();
  } else {
    source_ = Source::elsewhere;
    const bool is_origin =
        held.checkpoints.empty() && held.has_origin && file_id(read_origin(folder)) == file_id(checkpoint);
    if (held.is_run() && !is_origin)
      throw another_run(fmt::format("{} holds a run, and {} is not of that run", folder.string(), wanted), with_auto);
    if (!is_origin) origin_ = checkpoint.string();
  }
  for (const OwnCheckpoint& c : held.checkpoints)
    if (c.step > from_step_ || (c.step == from_step_ && source_ == Source::abandoned)) passed_by_.insert(c.id);
}

void Resume::record_origin() const {
  if (origin_.empty()) return;
  const fs::path file = folder_ / kOriginFile;
  if (const auto flaw = find_text_flaw(origin_, TextForm::name))  // of the working directory, say
    throw Error(ExitCode::io,
                fmt::format("cannot write {}: the checkpoint's path holds {}", file.string(), flaw->what));
  write_text_atomically(file, origin_ + "\n");
}

void Resume::forget_origin() const {
  if (origin_.empty()) return;
  const fs::path file = folder_ / kOriginFile;
  try {
    const Holdings held = look_into(folder_);
    if (origin_before_)
      write_text_atomically(file, *origin_before_);
    else if (source_ == Source::abandoned || (held.checkpoints.empty() && !held.has_abandoned && !held.has_metrics))
      ::unlink(file.c_str());
  } catch (const Error&) {  // then it stays
  }
}

bool Resume::is_of_this_start(int64_t step, const FileId& id) const {
  if (source_ != Source::own && source_ != Source::abandoned) return true;  // the folder had none, or auto chose it
  return id == from_id_ || (step >= from_step_ && !passed_by_.contains(id));
}

std::optional<Continuation> Resume::continuation() const {
  try {
    const Holdings held = look_into(folder_);
    const Continuation with_auto{.has_checkpoint = true, .resume = "auto"}, with_path{true, wanted_};
    if (!held.checkpoints.empty()) {
      const OwnCheckpoint& newest = held.checkpoints.back();
      return is_of_this_start(newest.step, newest.id) ? with_auto : with_path;
    }
    if (source_ == Source::own) return std::nullopt;  // somebody took its checkpoint away
    if (source_ == Source::elsewhere || source_ == Source::abandoned) {
      try {
        record_origin();  // again: the disk may have been full
        return with_auto;
      } catch (const Error&) {
        // Then the folder does not know its origin, and is closed to it once it holds anything.
        return source_ == Source::abandoned || !held.is_run() ? std::optional(with_path) : std::nullopt;
      }
    }
    const bool needs_auto = source_ == Source::newest || held.is_run();
    return Continuation{.has_checkpoint = false, .resume = needs_auto ? "auto" : ""};
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace ddp
