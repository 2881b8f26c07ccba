// What a program that starts ddp-launch, as the Python module does, shares with it beside the command line: descriptors
// that it inherits. One is the program's life: it is closed when that ends, in whatever way. Through the other one the
// program learns where the run is, which a configuration says that it would have to parse.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/base/fs.h"

namespace ddp {

// The descriptor of --stop-when-closed, or none for a `number` below 0. Ranks and other children do not get it. Errors:
// usage (64) where it was not inherited, or its end could not be noticed: of a file, or of what is open for writing
// alone.
Fd take_watched_descriptor(int number);

// --announce: one line of JSON once rank 0 has found what the run goes on from and moved away what is later than that,
// {"output_dir":PATH,"metrics_from":N}: the run's folder, seen from the working directory, and how many bytes of
// its metrics.jsonl are older than this start. Then the descriptor is closed.
class Announcement {
 public:
  // A `number` below 0: nothing is announced. Errors: usage (64) where it was not inherited, or is open for reading
  // alone.
  explicit Announcement(int number);

  // Nothing the second time. What does not take the line at once does not get it.
  void make(const std::string& output_dir, int64_t metrics_from);

 private:
  Fd fd_;
};

}  // namespace ddp
