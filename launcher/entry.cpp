// bin/ddp-launch of a bundle (scripts/bundle.sh). The real program, beside it, is linked with this bundle's libraries
// and a C library that the system must have: on an older system the loader would print a line for each library and
// symbol. This one is static, so that it starts anywhere, and says what is missing in one line.
//
// It looks for what is needed rather than at version numbers: gVisor calls itself Linux 4.4, and has every call.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

constexpr int kOsResource = 71;                                 // ExitCode::os_resource
constexpr const char* kLoader = "/lib64/ld-linux-x86-64.so.2";  // what programs of this machine are started by
// The newest version that the bundle's libraries ask for (libgcc's unwinder); scripts/bundle.sh checks that.
constexpr char kGlibc[] = "GLIBC_2.35";

int refuse(const char* what) {
  fprintf(stderr, "ddp-launch: %s\n", what);
  return kOsResource;
}

// The loader has the name of each version that its C library has.
bool has_glibc() {
  const int fd = open(kLoader, O_RDONLY | O_CLOEXEC);
  struct stat s;
  if (fd < 0 || fstat(fd, &s) != 0) return false;
  const void* text = mmap(nullptr, size_t(s.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
  return text != MAP_FAILED && memmem(text, size_t(s.st_size), kGlibc, sizeof kGlibc) != nullptr;
}

// Of what a launcher and its ranks need, the calls that came last: close_range in 5.9, pidfd_open in 5.3.
bool has_system_calls() {
  const bool close_range_is_there = syscall(SYS_close_range, 1, 0, 0) == 0 || errno != ENOSYS;  // an empty range
  const bool pidfd_is_there = syscall(SYS_pidfd_open, -1, 0) >= 0 || errno != ENOSYS;           // no process
  return close_range_is_there && pidfd_is_there;
}

}  // namespace

int main(int, char** argv) {
  if (!has_glibc())
    return refuse(
        "this system has no glibc of 2.35 or later, which this build needs; it is in Debian 12, Ubuntu 22.04 and "
        "later");
  if (!has_system_calls()) return refuse("this system's Linux is older than 5.10, which ddp-launch needs");
  char path[4096];
  constexpr char kName[] = "ddp-launcher";
  const ssize_t n = readlink("/proc/self/exe", path, sizeof path - sizeof kName);
  char* const end = n > 0 ? static_cast<char*>(memrchr(path, '/', size_t(n))) : nullptr;
  if (end == nullptr) return refuse("cannot read /proc/self/exe: is /proc mounted?");
  memcpy(end + 1, kName, sizeof kName);
  execv(path, argv);
  fprintf(stderr, "ddp-launch: cannot execute %s: %s\n", path, strerror(errno));
  return kOsResource;
}
