// What this process writes to its standard output while it lives.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <string>

#include "runtime/base/check.h"

namespace ddp::test {

class CapturedOutput {
 public:
  CapturedOutput() : file_(std::tmpfile()), before_(::dup(STDOUT_FILENO)) {
    DDP_CHECK(file_ != nullptr && before_ >= 0, "{}", "no temporary file");
    std::fflush(stdout);
    ::dup2(::fileno(file_), STDOUT_FILENO);
  }
  CapturedOutput(const CapturedOutput&) = delete;
  CapturedOutput& operator=(const CapturedOutput&) = delete;
  ~CapturedOutput() {
    std::fflush(stdout);
    ::dup2(before_, STDOUT_FILENO);
    ::close(before_);
    std::fclose(file_);
  }

  std::string text() const {
    std::fflush(stdout);
    std::rewind(file_);
    std::string out;
    for (int c = std::fgetc(file_); c != EOF; c = std::fgetc(file_)) out += char(c);
    return out;
  }

 private:
  std::FILE* file_;
  int before_;
};

}  // namespace ddp::test
