// Files as a trainer needs them: whole reads with a clear error, and writes that are either complete and on the disk or
// absent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace ddp {

// Move-only file descriptor; -1 is empty.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept;
  ~Fd() { reset(); }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release();
  void reset();

 private:
  int fd_ = -1;
};

// Where the file of this program lies. Errors: os_resource (71) where /proc is not mounted.
std::filesystem::path program_folder();

// The disk is full, over a quota, at a size limit or failing: what may be over later. `error` is an errno.
bool is_disk_trouble(int error);

// Opens for reading (O_CLOEXEC). Errors: no_input (66) naming the path and the reason, os_resource (71) without
// descriptors.
Fd open_input(const std::filesystem::path& path);
// Lets this process hold as many open files as its hard limit allows. Errors: os_resource (71) where these are not `n`
// and some of its own.
void reserve_descriptors(int64_t n);
// Size in bytes of an open regular file. Errors: no_input (66) when it is not one.
int64_t file_size(const Fd& file, const std::filesystem::path& path);
// Reads exactly `out.size()` bytes at `offset`; retries EINTR and short reads. Errors: data (65) naming the path at end
// of file, io (74) for I/O.
void read_exact(const Fd& file, std::span<std::byte> out, int64_t offset, const std::filesystem::path& path);
// Writes all bytes at the file's position; retries EINTR and short writes. Errors: io (74) naming the path and the
// reason.
void write_all(const Fd& file, std::span<const std::byte> bytes, const std::filesystem::path& path);
// fsync of a file or a folder. Errors: io (74). Never to be retried: after a failure the kernel may have dropped the
// dirty pages.
void sync(const Fd& file, const std::filesystem::path& path);
void sync_folder(const std::filesystem::path& path);
// Errors of both: io (74).
void rename_path(const std::filesystem::path& from, const std::filesystem::path& to);
// With what is missing above it, durably: its entry in the parent is on the disk.
void create_folder(const std::filesystem::path& path);
// Creates a new file for writing (0644, O_CLOEXEC, O_NOFOLLOW); an existing one is truncated. Errors: io (74).
Fd create_output(const std::filesystem::path& path);

std::string read_text(const std::filesystem::path& path);  // errors: no_input (66)
// Replaces a small file as one: temporary beside it, fsync, rename, fsync of the folder. Without `durable` no fsync: a
// reader still sees the old or the new text, but a power cut may lose both; for what is rewritten every second.
// Errors: io (74); then the old one is untouched and the temporary gone.
void write_text_atomically(const std::filesystem::path& path, std::string_view text, bool durable = true);

}  // namespace ddp
