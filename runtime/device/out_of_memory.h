// A device has no room for a buffer. Who knows the run's plan can say which would fit.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/base/error.h"

namespace ddp {

// os_resource (71).
class OutOfMemory : public Error {
 public:
  // `run_bytes`: what a run on this device may have in all, as far as is known: what it has, and what is free.
  OutOfMemory(const std::string& message, int64_t run_bytes)
      : Error(ExitCode::os_resource, message), run_bytes_(run_bytes) {}
  int64_t run_bytes() const noexcept { return run_bytes_; }

 private:
  int64_t run_bytes_;
};

}  // namespace ddp
