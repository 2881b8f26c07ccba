// The folder of a run: found or made without following a link that somebody may have planted, and locked for as long as
// the launcher lives, so that two runs cannot write into one another.
#pragma once

#include <filesystem>
#include <string>

#include "runtime/base/error.h"
#include "runtime/base/fs.h"

namespace ddp {

// The error of a file or folder of the run that cannot be created or entered because of `error` (errno): cannot_create
// (73), or os_resource (71) without descriptors.
Error cannot_create(const std::string& what, int error);

class RunFolder {
 public:
  // Opens `path`, creating what is missing, and locks it. Errors: permission (77) for '..', a symbolic link or
  // something that is neither file nor folder on the way, cannot_create (73) when it cannot be created or another run
  // holds it (naming its pid).
  explicit RunFolder(const std::filesystem::path& path);
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;
  ~RunFolder();  // removes the lock file

  const std::filesystem::path& path() const { return path_; }
  Fd open_logs() const;  // the folder logs/, created if missing. Errors: cannot_create (73), permission (77)

 private:
  void lock();

  std::filesystem::path path_;
  Fd folder_;
  Fd lock_;
};

}  // namespace ddp
