#include "launcher/real_path.h"

#include <errno.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include "launcher/run_folder.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;

bool is_link(const fs::path& path) {
  struct stat info;
  return ::lstat(path.c_str(), &info) == 0 && S_ISLNK(info.st_mode);
}

// Whether it is there, as a link or anything else.
bool exists(const fs::path& path, const fs::path& whole) {
  struct stat info;
  if (::lstat(path.c_str(), &info) == 0) return true;
  if (errno == ENOENT) return false;
  throw cannot_create(fmt::format("output folder {}: cannot enter {}", whole.string(), path.parent_path().string()),
                      errno);
}

// Where a link leads in the end.
fs::path follow(const fs::path& link, const fs::path& whole) {
  std::error_code error;
  fs::path real = fs::canonical(link, error);
  if (error) {
    std::error_code unread;
    throw cannot_create(fmt::format("output folder {}: cannot follow '{}', a symbolic link to {}", whole.string(),
                                    link.filename().string(), fs::read_symlink(link, unread).string()),
                        error.value());
  }
  return real;
}

}  // namespace

fs::path real_path(const fs::path& path) {
  fs::path real = path.is_absolute() ? "/" : fs::current_path();
  bool is_as_written = true;
  for (const fs::path& part : path.relative_path()) {
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (exists(real, path) && !fs::is_directory(real))
        throw cannot_create(fmt::format("output folder {}: cannot enter {}", path.string(), real.string()), ENOTDIR);
      real = real.parent_path();
      is_as_written = false;
    } else if (const fs::path next = real / part; exists(next, path) && is_link(next)) {
      real = follow(next, path);
      is_as_written = false;
    } else {
      real = next;
    }
  }
  return is_as_written ? path : real;
}

}  // namespace ddp
