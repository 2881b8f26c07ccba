// Which checkpoint a start goes on from, whether it may enter the run's folder at all, and how the same command goes on
// where it ended. The launcher decides it from what lies in the folder, before it starts anything; looking changes
// nothing.
//
// A folder that holds a run is entered only to go on with that run: from its newest checkpoint (auto), from one of its
// own (PATH), or from where it came. A run that starts from a checkpoint elsewhere remembers it in the file
// `resumed_from`, its origin, so that auto goes on from it as long as the run has no checkpoint of its own.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace ddp {

// What goes on after a run that ended: the same command with this --resume.
struct Continuation {
  bool has_checkpoint = false;
  std::string resume;  // auto, PATH; empty: none given
};

// The checkpoints of a folder by their names, oldest first, with those that a commit which was killed left aside.
// Errors: cannot_create (73) where it cannot be read.
std::vector<std::filesystem::path> checkpoints_in(const std::filesystem::path& folder);

// The checkpoint elsewhere that a run came from. Errors: data (65), no_input (66) where that is gone.
std::optional<std::string> origin_of(const std::filesystem::path& run_folder);

class Resume {
 public:
  // `wanted` is what --resume says: auto, none, the path of a checkpoint; `with_auto` the same command with auto, for
  // errors. The folder exists and is locked. Errors: cannot_create (73) where it holds a run that this would not go on
  // with, or cannot be read; os_resource (71) where descriptors run out; data (65) where its origin is damaged;
  // no_input (66) where its origin or PATH is gone.
  Resume(const std::filesystem::path& folder, const std::string& wanted, const std::string& with_auto);

  // What the ranks are told: auto, none, or the path of a checkpoint.
  const std::string& for_ranks() const { return for_ranks_; }
  // Whether the folder held a run already.
  bool enters_run() const { return enters_run_; }

  // Before the ranks are started: remembers, durably, where the run comes from, if not from its own checkpoints.
  // Errors: io (74).
  void record_origin() const;

  // After a start that nothing came of: undoes record_origin(), unless it is all that the folder knows of where its run
  // came from. Where it holds nothing else of a run it is open to the next attempt, from another checkpoint, too.
  void forget_origin() const;

  // Once the ranks are gone: what goes on from where they got, as the folder is now. Nothing where nothing would.
  std::optional<Continuation> continuation() const;

 private:
  using FileId = std::pair<dev_t, ino_t>;
  enum class Source { none, newest, own, abandoned, elsewhere };

  // Of the run's own checkpoints: whether going on from the newest is going on with this start.
  bool is_of_this_start(int64_t step, const FileId& id) const;

  std::filesystem::path folder_;
  std::string wanted_, for_ranks_;
  Source source_;
  bool enters_run_ = false;
  std::string origin_;                        // absolute, to be recorded; empty: nothing to record
  std::optional<std::string> origin_before_;  // what the file held
  int64_t from_step_ = -1;                    // of an own or abandoned PATH, by its name; -1: `best`, of whichever step
  FileId from_id_{};                          // of PATH
  std::set<FileId> passed_by_;  // checkpoints of later steps, or in the way of PATH, that were there before
};

}  // namespace ddp
