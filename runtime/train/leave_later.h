// What a start does to what its run's folder holds of later steps than the one it goes on from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "runtime/metrics/console_sink.h"

namespace ddp {

// For a run that goes on after `step`, by `resume` (none, auto, or PATH of a checkpoint): moves later checkpoints away,
// with the lines of metrics.jsonl about later steps (runtime/checkpoint/abandoned.h), and says so. The lines that stay
// are left to JsonlSink to cut. Where PATH is of a past that was itself abandoned, that past is taken up: its lines up
// to `step` take the place of those since the fork, and its checkpoint is the newest of the run again, its `best` the
// run's where that is not of a later step. Rank 0, before it opens metrics.jsonl. Errors: io (74).
void leave_later(const std::filesystem::path& run_folder, const std::string& resume, int64_t step,
                 ConsoleSink& console);

}  // namespace ddp
