#include "runtime/base/output.h"

#include <errno.h>

#include <cstdio>
#include <system_error>

#include "runtime/base/error.h"

namespace ddp {

void write_output(const std::function<void()>& print) {
  try {
    print();
  } catch (const std::system_error& e) {  // fmt's, when a full buffer cannot be written
    if (std::ferror(stdout) == 0) throw;  // of something else, as a file that `print` looked for
    errno = e.code().value();
  }
  if (std::ferror(stdout) != 0 || std::fflush(stdout) != 0)
    throw Error(ExitCode::io, "cannot write to standard output: " + errno_text(errno));
}

}  // namespace ddp
