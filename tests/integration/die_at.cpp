// Preloaded into rank 0 (tests/integration/resume_paths_test.py): kills it before the first system call that DIE_AT
// names, so that a test meets each phase at the same instruction every time. DIE_AT is CALL:TEXT, where CALL is open,
// rename, write or mkdir, and TEXT is part of the path, of the new path, or of what is written. FULL_AT is TEXT: for
// folders whose path has it there is no space.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <string_view>

namespace {

void die_if_asked(std::string_view call, std::string_view text) {
  const char* rank = ::getenv("RANK");
  const char* asked = ::getenv("DIE_AT");
  if (rank == nullptr || std::string_view(rank) != "0" || asked == nullptr) return;
  const std::string_view at = asked;
  const size_t colon = at.find(':');
  if (at.substr(0, colon) == call && text.find(at.substr(colon + 1)) != std::string_view::npos) ::raise(SIGKILL);
}

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

// As ddp-rank calls it, which is built with _FILE_OFFSET_BITS=64 too: open64.
extern "C" int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  die_if_asked("open", path);
  return next<int(const char*, int, mode_t)>("open64")(path, flags, mode);
}

extern "C" int rename(const char* from, const char* to) noexcept {
  die_if_asked("rename", to);
  return next<int(const char*, const char*)>("rename")(from, to);
}

extern "C" ssize_t write(int fd, const void* bytes, size_t size) {
  die_if_asked("write", {static_cast<const char*>(bytes), size});
  return next<ssize_t(int, const void*, size_t)>("write")(fd, bytes, size);
}

extern "C" int mkdir(const char* path, mode_t mode) noexcept {
  die_if_asked("mkdir", path);
  if (const char* full = ::getenv("FULL_AT");
      full != nullptr && std::string_view(path).find(full) != std::string_view::npos) {
    errno = ENOSPC;
    return -1;
  }
  return next<int(const char*, mode_t)>("mkdir")(path, mode);
}
