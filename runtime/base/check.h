// DDP_CHECK(condition, "format {}", values...): a broken invariant of ours, always on. Throws Bug with file and line.
#pragma once

#include <fmt/core.h>

#include "runtime/base/error.h"

namespace ddp {

[[noreturn]] void fail_check(const char* condition, const char* file, int line, const std::string& message);

}  // namespace ddp

#define DDP_CHECK(condition, ...)                                                  \
  do {                                                                             \
    if (!(condition)) [[unlikely]]                                                 \
      ::ddp::fail_check(#condition, __FILE__, __LINE__, fmt::format(__VA_ARGS__)); \
  } while (false)
