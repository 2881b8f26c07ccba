#include "runtime/checkpoint/checkpoint.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "runtime/base/hash.h"
#include "runtime/base/run_files.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;

// Hidden, so that no glob for checkpoints meets them:
constexpr std::string_view kWriting = ".tmp-";       // not yet complete
constexpr std::string_view kRemoving = ".removed-";  // no longer complete

fs::path aside(const fs::path& path, std::string_view prefix) {
  return path.parent_path() / (std::string(prefix) + path.filename().string());
}

// Empty where there is no such folder. One that cannot be read is an error: it must not look like a run without
// checkpoints.
std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  try {
    if (!fs::exists(folder)) return entries;
    for (const auto& entry : fs::directory_iterator(folder)) entries.push_back(entry.path());
  } catch (const fs::filesystem_error& why) {
    throw Error(ExitCode::no_input, fmt::format("cannot read {}: {}", folder.string(), why.code().message()));
  }
  return entries;
}

// An empty folder to write in, removed with whatever is in it unless it has been renamed away.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(fs::path path) : path_(std::move(path)) {
    remove();
    create_folder(path_);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { remove(); }
  const fs::path& path() const { return path_; }

 private:
  void remove() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  fs::path path_;
};

// A checkpoint of that step that is there already steps aside, and back again when the new one cannot take its place.
void move_into_place(const fs::path& complete, const fs::path& place) {
  std::error_code ignored;
  const bool replaces = fs::exists(place, ignored);  // where that cannot be told, the rename fails
  const fs::path replaced = aside(place, kReplacedPrefix);
  if (replaces) rename_path(place, replaced);
  try {
    rename_path(complete, place);
  } catch (const Error&) {
    if (replaces) rename_path(replaced, place);
    throw;
  }
  sync_folder(place.parent_path());
  fs::remove_all(replaced, ignored);
}

// Renamed first, so that a half-removed checkpoint is never taken for one. What cannot be removed now is tried again at
// the next commit or start: the checkpoint just committed is no worse for it.
void remove_checkpoint(const fs::path& path) {
  std::error_code ignored;
  const fs::path removing = aside(path, kRemoving);
  fs::remove_all(removing, ignored);
  fs::rename(path, removing, ignored);
  fs::remove_all(removing, ignored);
}

void remove_all_but_newest(const fs::path& folder, int64_t newest_step, int64_t keep) {
  std::vector<Checkpoint> past = list_checkpoints(folder);
  std::erase_if(past, [newest_step](const Checkpoint& c) { return c.step > newest_step; });
  for (size_t i = 0; int64_t(i) < int64_t(past.size()) - keep; ++i) remove_checkpoint(past[i].path);
}

std::string name_in_model_file(const SavedNames& names, const std::string& saved) {
  return saved == names.without_prefix ? saved : names.model_prefix + saved;
}

std::vector<TensorToSave> tensors_to_save(const ModelFlats& model) {
  std::vector<TensorToSave> tensors = tensors_to_save(model.layout, model.params, "");
  const auto state = tensors_to_save(model.state_layout, model.state, "");
  tensors.insert(tensors.end(), state.begin(), state.end());
  for (TensorToSave& tensor : tensors) tensor.name = name_in_model_file(model.layout.saved_names(), tensor.name);
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return tensors;
}

std::vector<Wanted> wanted_tensors(const ModelFlats& model) {
  std::vector<Wanted> wanted = wanted_tensors(model.layout, model.params, "");
  const auto state = wanted_tensors(model.state_layout, model.state, "");
  wanted.insert(wanted.end(), state.begin(), state.end());
  return wanted;
}

// Others look for it there; it says nothing that a resume reads.
WrittenFile write_text(const fs::path& path, const std::string& text) {
  const Fd file = create_output(path);
  const auto bytes = std::as_bytes(std::span(text));
  write_all(file, bytes, path);
  sync(file, path);
  return {.bytes = int64_t(text.size()), .xxh3 = xxh3(bytes)};
}

WrittenFile write_optimizer(const fs::path& path, const CheckpointContent& content) {
  std::vector<TensorToSave> tensors;
  for (const NamedFlat& state : content.optimizer) {
    const auto more = tensors_to_save(content.model.layout, state.flat, state.name + ".");
    tensors.insert(tensors.end(), more.begin(), more.end());
  }
  return write_safetensors(path, tensors);
}

uint64_t hash_file(const Fd& file, int64_t size, const fs::path& path) {
  Xxh3 hash;
  std::vector<std::byte> piece(1 << 20);
  for (int64_t at = 0; at < size; at += int64_t(piece.size())) {
    const auto part = std::span(piece).first(size_t(std::min(size - at, int64_t(piece.size()))));
    read_exact(file, part, at, path);
    hash.update(part);
  }
  return hash.digest();
}

Manifest read_manifest(const fs::path& checkpoint) {
  const fs::path path = checkpoint / kManifestFile;
  return parse_manifest(read_text(path), path.string());
}

}  // namespace

CommittedCheckpoint write_checkpoint(const fs::path& folder, const CheckpointContent& content, int64_t keep) {
  DDP_CHECK(keep >= 1, "keep {} checkpoints", keep);
  create_folder(folder);
  const Checkpoint target{content.state.step(), folder / step_name(content.state.step())};
  const TemporaryFolder writing(aside(target.path, kWriting));

  Manifest manifest{content.state, {}};
  WrittenFile& model = manifest.files[kModelFile];
  model = write_safetensors(writing.path() / kModelFile, tensors_to_save(content.model));
  WrittenFile& optimizer = manifest.files[kOptimizerFile];
  optimizer = write_optimizer(writing.path() / kOptimizerFile, content);
  const int64_t bytes = model.bytes + optimizer.bytes;
  for (const auto& [name, text] : content.texts) manifest.files[name] = write_text(writing.path() / name, text);
  write_text(writing.path() / kManifestFile, manifest_text(manifest));
  sync_folder(writing.path());
  move_into_place(writing.path(), target.path);

  try {
    remove_all_but_newest(folder, target.step, keep);
  } catch (const Error&) {  // a folder that cannot be read now: this one is committed, and the next commit tries again
  }
  return {target, bytes};
}

void link_checkpoint(const fs::path& from, const fs::path& place) {
  const TemporaryFolder writing(aside(place, kWriting));
  for (const fs::path& file : entries_of(from)) {
    const fs::path second = writing.path() / file.filename();
    std::error_code error;
    fs::create_hard_link(file, second, error);
    if (error) fs::copy_file(file, second, error);
    if (error) throw Error(ExitCode::io, fmt::format("cannot create {}: {}", second.string(), error.message()));
    sync(open_input(second), second);
  }
  sync_folder(writing.path());
  move_into_place(writing.path(), place);
}

void recover_checkpoints(const fs::path& folder) {
  for (const fs::path& path : entries_of(folder)) {
    const std::string name = path.filename().string();
    if (name.starts_with(kReplacedPrefix)) {
      const fs::path place = folder / name.substr(kReplacedPrefix.size());
      if (!fs::exists(place)) rename_path(path, place);
    }
    std::error_code ignored;
    if (name.starts_with(kReplacedPrefix) || name.starts_with(kWriting) || name.starts_with(kRemoving))
      fs::remove_all(path, ignored);
  }
}

std::vector<Checkpoint> list_checkpoints(const fs::path& folder) {
  std::vector<Checkpoint> found;
  for (const fs::path& path : entries_of(folder)) {
    const std::string name = path.filename().string();
    if (const int64_t step = step_of_name(name); step >= 0 && fs::is_directory(path)) found.push_back({step, path});
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  return found;
}

std::optional<Checkpoint> find_best(const fs::path& folder) {
  const fs::path path = folder / kBestName;
  if (!fs::exists(path / kManifestFile)) return std::nullopt;
  try {
    return Checkpoint{read_manifest(path).state.step(), path};
  } catch (const Error&) {
    return std::nullopt;
  }
}

Manifest verify_checkpoint(const fs::path& path) {
  Manifest manifest = read_manifest(path);
  for (const auto& [name, expected] : manifest.files) {
    const fs::path file_path = path / name;
    const Fd file = open_input(file_path);
    const int64_t size = file_size(file, file_path);
    if (size != expected.bytes)
      throw Error(ExitCode::data,
                  fmt::format("{} has {} bytes, its manifest says {}", file_path.string(), size, expected.bytes));
    if (hash_file(file, size, file_path) != expected.xxh3)
      throw Error(ExitCode::data, fmt::format("{} is corrupt: its hash is not the manifest's", file_path.string()));
  }
  return manifest;
}

std::optional<Checkpoint> find_newest_verified(const fs::path& folder,
                                               const std::function<void(const std::string&)>& warn) {
  const std::vector<Checkpoint> all = list_checkpoints(folder);
  for (auto c = all.rbegin(); c != all.rend(); ++c) {
    try {
      verify_checkpoint(c->path);
      return *c;
    } catch (const Error& why) {
      warn(fmt::format("checkpoint of step {} is passed over: {}", c->step, why.what()));
    }
  }
  if (all.empty()) return std::nullopt;
  throw Error(ExitCode::data, fmt::format("none of the {} checkpoints in {} is intact", all.size(), folder.string()),
              "restore one from a copy, or start afresh in another output_dir");
}

TrainingState load_checkpoint(const fs::path& path, const ModelFlats& model, const std::vector<NamedFlat>& optimizer) {
  Manifest manifest = read_manifest(path);
  load_checkpoint_model(path, model);
  std::vector<Wanted> wanted;
  for (const NamedFlat& state : optimizer) {
    const auto more = wanted_tensors(model.layout, state.flat, state.name + ".");
    wanted.insert(wanted.end(), more.begin(), more.end());
  }
  load_tensors(SafetensorsReader(path / kOptimizerFile), wanted);
  return std::move(manifest.state);
}

void load_checkpoint_model(const fs::path& path, const ModelFlats& model) {
  const SavedNames& names = model.layout.saved_names();
  SafetensorsReader file(path / kModelFile);
  const bool has_prefix = std::any_of(file.tensors().begin(), file.tensors().end(),
                                      [&](const SavedTensor& t) { return t.name.starts_with(names.model_prefix); });
  std::vector<Wanted> wanted = wanted_tensors(model);
  if (has_prefix)  // not in the files of earlier versions
    for (Wanted& w : wanted)
      for (NamedView& t : w.tensors) t.name = name_in_model_file(names, t.name);
  load_tensors(std::move(file), wanted);
}

LoadReport load_model(const fs::path& path, const ModelFlats& model) {
  return load_published(TensorFiles::open(path), wanted_tensors(model), model.layout.saved_names());
}

}  // namespace ddp
