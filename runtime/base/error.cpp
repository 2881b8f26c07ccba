#include "runtime/base/error.h"

#include <errno.h>
#include <string.h>

#include "runtime/base/check.h"

namespace ddp {

std::string errno_text(int error_number) {
  if (error_number == EFBIG) return "File too large (see ulimit -f)";
  char buffer[128];
  return strerror_r(error_number, buffer, sizeof buffer);  // GNU: returns the text, which need not be in the buffer
}

void fail_check(const char* condition, const char* file, int line, const std::string& message) {
  throw Bug(fmt::format("{}:{}: {} ({})", file, line, message, condition));
}

}  // namespace ddp
