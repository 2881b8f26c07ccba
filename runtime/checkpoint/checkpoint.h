// Checkpoints: folders step-00000100 with the model's tensors, the optimizer's, and a manifest of their hashes. Each is
// written aside, synced and renamed, so that whatever happens at whatever instruction, a folder of that name is a whole
// checkpoint. The tensor files hold nothing of a run but its numbers: equal weights make equal files, whatever the
// number of ranks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "runtime/checkpoint/manifest.h"
#include "runtime/checkpoint/tensor_map.h"
#include "runtime/state/param_layout.h"

namespace ddp {

// A piece of optimizer state: a flat buffer of the layout, in memory of the host. Its tensors are "<name>.<parameter>".
struct NamedFlat {
  std::string name;
  float* flat;
};

// What model.safetensors holds: a model's parameters, and its state where it has one.
struct ModelFlats {
  const ParamLayout& layout;
  float* params;  // as NamedFlat::flat
  const ParamLayout& state_layout;
  float* state;  // likewise, of state_layout; nullptr where that is empty
};

struct CheckpointContent {
  ModelFlats model;
  std::vector<NamedFlat> optimizer;
  TrainingState state;
  std::map<std::string, std::string> texts = {};  // files for others, of kTextFiles: ModelKind::export_files
};

struct Checkpoint {
  int64_t step = 0;
  std::filesystem::path path;
};

struct CommittedCheckpoint {
  Checkpoint checkpoint;
  int64_t bytes = 0;  // of its tensor files
};

// In all of these `folder` is the run's checkpoints/ folder, which need not exist but for write access to its parent.

// Commits `content` as the step-... of its state, in place of an older one of that step, then removes what is not among
// the `keep` (at least 1) newest up to that step. Those of later steps stay: a resume before them has moved them away
// (abandoned.h). Errors: io (74) when something could not be written; then this checkpoint is void, its partial gone,
// and the others untouched.
CommittedCheckpoint write_checkpoint(const std::filesystem::path& folder, const CheckpointContent& content,
                                     int64_t keep);

// Makes `place`, a name in such a folder, a second name of the checkpoint `from`: by hard links, or copies where the
// disk has none. `from` stays; a checkpoint that is at `place` is replaced as in a commit. Errors: no_input (66), io
// (74).
void link_checkpoint(const std::filesystem::path& from, const std::filesystem::path& place);

// Clears away what a run that died left half-written or half-removed. To be called before find_newest_verified, by a
// run that owns the folder; a mere reader does not call it, since a live run may be writing.
void recover_checkpoints(const std::filesystem::path& folder);

// Those that are named for their step, oldest first, not verified.
std::vector<Checkpoint> list_checkpoints(const std::filesystem::path& folder);

// The one that is named `best`, not verified. Nothing where there is none, or where its manifest, which knows its step,
// cannot be read: then it is good for nothing but to be replaced.
std::optional<Checkpoint> find_best(const std::filesystem::path& folder);

// Reads all of the checkpoint and compares sizes and hashes. Returns the manifest. Errors: data (65) or no_input (66)
// naming the file.
Manifest verify_checkpoint(const std::filesystem::path& path);

// The newest one that verifies; `warn` gets a line for each newer one that does not. Empty when there are no
// checkpoints at all. Errors: data (65) when there are some and none verifies: never a silent restart.
std::optional<Checkpoint> find_newest_verified(const std::filesystem::path& folder,
                                               const std::function<void(const std::string&)>& warn);

// Fills the flat buffers, padding with zeros. Verifies nothing but form: call verify_checkpoint first. Errors: config
// (78) naming tensors when it is a checkpoint of another model or optimizer; data (65) or no_input (66) when files are
// malformed or missing.
TrainingState load_checkpoint(const std::filesystem::path& path, const ModelFlats& model,
                              const std::vector<NamedFlat>& optimizer);

// The same, of the model alone.
void load_checkpoint_model(const std::filesystem::path& path, const ModelFlats& model);

// Weights to start from, as the layout's saved names say that others write them: a safetensors file, the index of one
// in shards, or a folder with one of them. What may start anew and does keeps the values that it has. Errors: as above,
// and data (65) saying what a file seems to be that is none of these.
LoadReport load_model(const std::filesystem::path& path, const ModelFlats& model);

}  // namespace ddp
