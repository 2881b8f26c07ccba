#include "launcher/run_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/real_path.h"
#include "runtime/base/run_files.h"
#include "runtime/base/system_limits.h"

namespace ddp {
namespace {

constexpr const char* kLockName = ".lock";

// `name` is how the link is called in the folder of the run, `link` where it is.
[[noreturn]] void refuse_link(const std::filesystem::path& path, const std::string& name,
                              const std::filesystem::path& link) {
  std::error_code error;
  throw Error(ExitCode::permission,
              fmt::format("output folder {}: '{}' is a symbolic link to {}", path.string(), name,
                          std::filesystem::read_symlink(link, error).string()),
              "remove it: a run writes what is its own into its folder alone");
}

// Why `name` in `parent` could not be opened as a folder.
[[noreturn]] void refuse(int parent, const std::string& name, const std::filesystem::path& path, int error) {
  struct stat info;
  if ((error == ENOTDIR || error == ELOOP) && ::fstatat(parent, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0) {
    if (S_ISLNK(info.st_mode)) refuse_link(path, name, path / name);
    if (!S_ISREG(info.st_mode))
      throw Error(ExitCode::permission, fmt::format("output folder {}: '{}' is no folder", path.string(), name),
                  "choose another --output-dir");
  }
  throw cannot_create(fmt::format("output folder {}: cannot create '{}'", path.string(), name), error);
}

// Opens the folder `name` in `parent`, which is created if missing, and never through a symbolic link.
Fd enter(int parent, const std::string& name, const std::filesystem::path& path) {
  constexpr int kFlags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  Fd folder(::openat(parent, name.c_str(), kFlags));
  if (!folder && errno == ENOENT) {
    if (::mkdirat(parent, name.c_str(), 0777) != 0 && errno != EEXIST) refuse(parent, name, path, errno);
    folder = Fd(::openat(parent, name.c_str(), kFlags));
  }
  if (!folder) refuse(parent, name, path, errno);
  return folder;
}

// Another run removes its checkpoints when they are old, with all that is in them.
void refuse_inside_of_run(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  std::error_code none;
  for (fs::path inner = path, outer = path.parent_path(); inner != outer; inner = outer, outer = outer.parent_path()) {
    const std::string name = inner.filename().string();
    if ((name == "checkpoints" || name == "logs") && fs::exists(outer / kMetricsFile, none))
      throw Error(ExitCode::cannot_create,
                  fmt::format("output folder {} is inside of the run {}", path.string(), outer.string()),
                  "choose another --output-dir");
  }
}

}  // namespace

Error cannot_create(const std::string& what, int error) {
  if (error == EMFILE || error == ENFILE) return os_error(what, error);
  return Error(ExitCode::cannot_create, what + ": " + errno_text(error), "choose another --output-dir");
}

void refuse_links_in(const std::filesystem::path& run_folder) {
  namespace fs = std::filesystem;
  const auto refuse_in = [&](const fs::path& folder, auto is_ours) {
    std::error_code none;  // it need not be there, and who reads what is in it says why that fails
    for (const fs::directory_entry& entry : fs::directory_iterator(run_folder / folder, none)) {
      const std::string name = (folder / entry.path().filename()).string();
      if (entry.is_symlink(none) && is_ours(entry.path().filename().string()))
        refuse_link(run_folder, name, entry.path());
    }
  };
  refuse_in("", is_run_file);
  refuse_in("checkpoints", is_checkpoint_folder);
  refuse_in("logs", [](const std::string& name) { return name.starts_with("rank-"); });
}

RunFolder::RunFolder(const std::filesystem::path& path) : path_(real_path(path)), is_as_given_(path_ == path) {
  refuse_inside_of_run(path_);
  folder_ = Fd(::open(path_.is_absolute() ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  for (const std::filesystem::path& part : path_.relative_path())
    if (!part.empty() && part != ".") folder_ = enter(folder_.get(), part.string(), path_);
  refuse_links_in(path_);
  lock();
}

void RunFolder::lock() {
  for (;;) {
    Fd file(::openat(folder_.get(), kLockName, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
    if (!file) refuse(folder_.get(), kLockName, path_, errno);
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      char owner[16] = {};
      [[maybe_unused]] const ssize_t n = ::pread(file.get(), owner, sizeof owner - 1, 0);
      throw Error(ExitCode::cannot_create,
                  fmt::format("output folder {} is in use by {}{}", path_.string(),
                              *owner == '\0' ? "another process" : "process ", owner),
                  "wait for it, or choose another --output-dir");
    }
    // The last owner may have removed the file between our open and our lock: then a lock on it protects nothing.
    struct stat ours, named;
    if (::fstat(file.get(), &ours) != 0 || ::fstatat(folder_.get(), kLockName, &named, AT_SYMLINK_NOFOLLOW) != 0 ||
        ours.st_ino != named.st_ino)
      continue;
    const std::string pid = std::to_string(::getpid());
    // For the message above only: the lock holds on a full disk too.
    if (::ftruncate(file.get(), 0) == 0) {
      [[maybe_unused]] const ssize_t n = ::write(file.get(), pid.data(), pid.size());
    }
    lock_ = std::move(file);
    return;
  }
}

RunFolder::~RunFolder() {
  if (lock_) ::unlinkat(folder_.get(), kLockName, 0);
}

Fd RunFolder::open_logs() const { return enter(folder_.get(), "logs", path_); }

}  // namespace ddp
