// Appends lines to a file whose disk may be full, over a quota, at its size limit (`ulimit -f`) or failing: such a file
// must not end a training run. What cannot be written waits in memory, in order, and is tried again at each line and at
// each flush; beyond a bound the oldest lines go, and a line that says so takes their place in the file. (To drop the
// newest would need no queue, but what led to the full disk is worth less than what follows.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>

#include "runtime/base/fs.h"

namespace ddp {

class PatientFile {
 public:
  static constexpr size_t kMaxWaitingBytes = 16 << 20;

  // What a line is about, to its owner: it comes back in Lost, and means nothing here.
  struct Tags {
    int64_t first, last;
  };
  // Lines that are gone for good, and the smallest and the largest tag among them.
  struct Lost {
    int64_t num_lines = 0;
    Tags tags = {};
    void add(Tags more);
  };
  struct Options {
    // Opens the file for appending (O_APPEND). Called until it gives one; an empty one leaves the reason in errno.
    std::function<Fd()> open;
    // The line, without newline, that takes the place of lost ones.
    std::function<std::string(const Lost&)> gap_line;
    size_t max_waiting_bytes = kMaxWaitingBytes;
  };
  // Tries to open the file.
  explicit PatientFile(Options options);

  // Appends a line, newline added.
  void append(std::string line, Tags tags = {});
  // Tries again what waits, and to open the file where it is not.
  void flush();
  // For the end: tries a last time, gives up what still waits and puts the line that says so in the file if only that
  // finds room. Returns all that was lost since the file was made.
  const Lost& give_up();

  bool is_open() const { return bool(file_); }
  bool is_behind() const { return !is_open() || torn_bytes_ > 0 || gap_.num_lines > 0 || !waiting_.empty(); }
  int error() const { return error_; }  // errno of the last failure

 private:
  struct Line {
    std::string text;
    Tags tags;
    size_t bytes() const { return text.size() + sizeof(Line); }
  };

  bool try_all();
  bool try_line(std::string_view text);
  bool cut_torn();
  void lose_oldest();

  Options options_;
  Fd file_;
  int error_ = 0;
  size_t torn_bytes_ = 0;  // at the file's end, of a line that was not written whole and could not be cut off
  Lost gap_;               // lost before the oldest that waits, not yet told in the file
  std::deque<Line> waiting_;
  size_t waiting_bytes_ = 0;
  Lost all_lost_;
};

}  // namespace ddp
