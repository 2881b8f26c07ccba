// Turns the bytes of the ranks' pipes into lines: each goes to the rank's own log file and to the console. The line
// protocol: a first byte of runtime/base/line_marks.h makes it transient or plain; else it is printed as "[rank N]
// TEXT".
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/console.h"
#include "runtime/base/fs.h"
#include "runtime/base/line_marks.h"
#include "runtime/base/patient_file.h"

namespace ddp {

inline constexpr size_t kMaxLineBytes = 64 * 1024;

// Cuts a stream of bytes into lines. A line ends at \n (a \r before it is dropped); one longer than kMaxLineBytes is
// handed out in pieces; NUL and other control characters but tab become '?', so that garbage cannot steer a terminal.
class LineSplitter {
 public:
  using Sink = std::function<void(std::string_view line)>;
  void feed(std::string_view bytes, const Sink& sink);
  void finish(const Sink& sink);  // the last line, when it lacks its newline

 private:
  std::string partial_;
};

class LogMux {
 public:
  // `logs` is an open folder, empty for no log files. Files are appended to, so that a resumed run keeps its history.
  // On a full disk their lines wait. Errors: os_resource (71), cannot_create (73).
  LogMux(int num_ranks, Fd logs, Console& console);

  void feed(int rank, std::string_view bytes);
  void finish(int rank);
  void flush();     // tries again what a full disk kept from the files
  void conclude();  // the last try; says what is missing
  void undo();      // after that: leaves in the files what they held before

 private:
  void take(int rank, std::string_view line);
  void log(int rank, std::string_view line);
  void tell_changes();

  Console& console_;
  Fd logs_;
  std::vector<LineSplitter> splitters_;
  std::vector<PatientFile> files_;
  std::vector<int64_t> sizes_before_;  // of the files; -1: there was none
  bool told_behind_ = false;
};

}  // namespace ddp
