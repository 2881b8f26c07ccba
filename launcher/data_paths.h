// data.train and data.valid as files: patterns become what they match, once, before the ranks start, so that all ranks
// and every resume read the same files in the same order.
#pragma once

#include "runtime/config/config.h"

namespace ddp {

// Replaces each path that has *, ? or [ in it, and is no file by that very name, by the paths that match
// it as a shell's do, sorted by their bytes. Errors: no_input (66) naming the pattern that nothing matches, or why its
// folder cannot be read; config (78) where there are more than kMaxPaths.
void expand_patterns(const char* key, PathList& list);

// Each path is there, is what the format takes, and is no second name of another one. Errors: no_input (66), config
// (78).
void check_paths(const char* key, const PathList& list, DataPath kind);

}  // namespace ddp
