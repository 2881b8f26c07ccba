// The two ways to fail. An Error is the environment's or the user's: it says what happened, where, and what to do, and
// carries the exit code. A Bug (thrown by DDP_CHECK) is ours and exits with internal (70). main() of each program
// catches once and prints one line.
#pragma once

#include <stdexcept>
#include <string>

#include "runtime/base/exit_codes.h"

namespace ddp {

class Error : public std::runtime_error {
 public:
  // `message` is one line: what happened and where; `hint` is what to do about it, may be empty.
  Error(ExitCode code, const std::string& message, const std::string& hint = {})
      : std::runtime_error(hint.empty() ? message : message + "; " + hint), code_(code) {}
  ExitCode code() const noexcept { return code_; }

 private:
  ExitCode code_;
};

// Thrown out of a wait when another rank failed first and the run is being aborted: this rank is a victim, not the
// cause.
class Aborted : public std::runtime_error {
 public:
  explicit Aborted(const std::string& where) : std::runtime_error("aborted while in " + where) {}
};

class Bug : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

// Text of an errno value; thread-safe, unlike strerror. Of EFBIG it says where the limit comes from.
std::string errno_text(int error_number);

}  // namespace ddp
