// The system refuses a process, a thread, a descriptor or memory. Its own text ("Resource temporarily unavailable")
// does not say which limit was reached; this does.
#pragma once

#include <string>

#include "runtime/base/error.h"

namespace ddp {

// A call that failed with `error` (errno), as "`what`: text of the error; the limit, its value and what to do":
// os_resource (71). EAGAIN: processes and threads (RLIMIT_NPROC, pids.max of the cgroup) or, as glibc says it of a
// thread's stack, address space; EMFILE: descriptors; ENOMEM: memory.
Error os_error(const std::string& what, int error);

// The memory of this process as half a sentence, for a failed allocation: what it has mapped, and the limit where there
// is one.
std::string memory_in_use();

// Bytes that this process may still map, as far as is known: to the limit, and what the host has to give.
int64_t free_memory_bytes();

}  // namespace ddp
