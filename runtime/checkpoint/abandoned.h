// What a run leaves behind when it goes back to an earlier checkpoint of its own: nothing of it is removed. It lies in
// checkpoints/abandoned-<step>-<UTC time>/, where it is neither listed nor counted among the checkpoints to keep; a
// resume can name one of these checkpoints, and who needs the space removes the folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

namespace ddp {

struct Abandoned {
  std::filesystem::path folder;
  int64_t num_checkpoints = 0;
  int64_t bytes = 0;  // of their files
};

// Moves the checkpoints of `folder` of steps later than `step`, whole or damaged, and `best` where it is of such a
// step, to a new abandoned-<step>-<time>/ after it wrote `metrics`, where not empty, as metrics.jsonl there; all of it
// durably. Whatever stops it, each checkpoint is in one of the two places. Returns nothing, and does nothing, where
// there are no later ones. Errors: io (74).
std::optional<Abandoned> abandon_later_checkpoints(const std::filesystem::path& folder, int64_t step,
                                                   std::string_view metrics);

// Whether there are any.
bool has_later_checkpoints(const std::filesystem::path& folder, int64_t step);

struct AbandonedPast {
  int64_t forked_at = 0;  // the last step that it has in common with what first replaced it
  std::filesystem::path metrics;
};

// Of a checkpoint that lies in an abandoned-<step>-<time>/ in `folder`; nothing for any other path.
std::optional<AbandonedPast> abandoned_past(const std::filesystem::path& checkpoint,
                                            const std::filesystem::path& folder);

}  // namespace ddp
