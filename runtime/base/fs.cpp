#include "runtime/base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/system_limits.h"

namespace ddp {
namespace {

[[noreturn]] void fail_io(const char* verb, const std::filesystem::path& path) {
  throw Error(ExitCode::io, std::string("cannot ") + verb + " " + path.string() + ": " + errno_text(errno));
}

}  // namespace

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}

int Fd::release() { return std::exchange(fd_, -1); }

void Fd::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

std::filesystem::path program_folder() {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) throw Error(ExitCode::os_resource, "cannot read /proc/self/exe: " + error.message(), "mount /proc");
  return program.parent_path();
}

bool is_disk_trouble(int error) { return error == ENOSPC || error == EDQUOT || error == EFBIG || error == EIO; }

Fd open_input(const std::filesystem::path& path) {
  Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // a FIFO must not block the start
  if (!file && (errno == EMFILE || errno == ENFILE)) throw os_error("cannot open " + path.string(), errno);
  if (!file) throw Error(ExitCode::no_input, "cannot open " + path.string() + ": " + errno_text(errno));
  return file;
}

void reserve_descriptors(int64_t n) {
  constexpr rlim_t kOwn = 256;  // of devices, communication, logs, checkpoints
  rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t wanted = rlim_t(n) + kOwn;
  if (limit.rlim_max < wanted)
    throw Error(
        ExitCode::os_resource,
        std::to_string(n) + " files are to be open at once, and a process may hold " + std::to_string(limit.rlim_max),
        "raise the limit (ulimit -Hn), or join files");
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);  // within the hard limit it does not fail
}

int64_t file_size(const Fd& file, const std::filesystem::path& path) {
  struct stat info;
  if (::fstat(file.get(), &info) != 0) fail_io("stat", path);
  if (!S_ISREG(info.st_mode)) throw Error(ExitCode::no_input, path.string() + " is not a regular file");
  return info.st_size;
}

void read_exact(const Fd& file, std::span<std::byte> out, int64_t offset, const std::filesystem::path& path) {
  while (!out.empty()) {
    const ssize_t n = ::pread(file.get(), out.data(), out.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_io("read", path);
    if (n == 0)
      throw Error(ExitCode::data, path.string() + " ends at byte " + std::to_string(offset) + ", " +
                                      std::to_string(out.size()) + " bytes early");
    out = out.subspan(size_t(n));
    offset += n;
  }
}

void write_all(const Fd& file, std::span<const std::byte> bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(file.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) errno = ENOSPC;  // some file systems' way to say it
    if (n <= 0) fail_io("write", path);
    bytes = bytes.subspan(size_t(n));
  }
}

void sync(const Fd& file, const std::filesystem::path& path) {
  if (::fsync(file.get()) != 0) fail_io("fsync", path);
}

void sync_folder(const std::filesystem::path& path) {
  Fd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) fail_io("open", path);
  sync(folder, path);
}

void rename_path(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0)
    throw Error(ExitCode::io, "cannot rename " + from.string() + " to " + to.string() + ": " + errno_text(errno));
}

void create_folder(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::create_directories(path, error)) sync_folder(path.has_parent_path() ? path.parent_path() : ".");
  if (error) throw Error(ExitCode::io, "cannot create " + path.string() + ": " + error.message());
}

Fd create_output(const std::filesystem::path& path) {
  Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!file) fail_io("create", path);
  return file;
}

std::string read_text(const std::filesystem::path& path) {
  const Fd file = open_input(path);
  std::string text(size_t(file_size(file, path)), '\0');
  read_exact(file, std::as_writable_bytes(std::span(text)), 0, path);
  return text;
}

void write_text_atomically(const std::filesystem::path& path, std::string_view text, bool durable) {
  std::filesystem::path temporary = path;
  temporary += ".tmp";
  const Fd file = create_output(temporary);
  try {
    write_all(file, std::as_bytes(std::span(text)), temporary);
    if (durable) sync(file, temporary);
    rename_path(temporary, path);
  } catch (const Error&) {
    ::unlink(temporary.c_str());  // on a full disk its room is needed
    throw;
  }
  if (durable) sync_folder(path.has_parent_path() ? path.parent_path() : ".");
}

}  // namespace ddp
