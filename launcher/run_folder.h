// The folder of a run: found or made, and locked for as long as the launcher lives, so that two runs cannot write into
// one another. Links on the way to it are its user's, and followed once, at the start; one in the place of what a run
// makes in its folder may have been planted, and is refused.
#pragma once

#include <filesystem>
#include <string>

#include "runtime/base/error.h"
#include "runtime/base/fs.h"

namespace ddp {

// The error of a file or folder of the run that cannot be created or entered because of `error` (errno): cannot_create
// (73), or os_resource (71) without descriptors.
Error cannot_create(const std::string& what, int error);

// Refuses a symbolic link in the place of what a run makes in the folder, which is looked into and need not be there.
// Errors: permission (77).
void refuse_links_in(const std::filesystem::path& run_folder);

class RunFolder {
 public:
  // Opens the folder to which `path` leads, creating what is missing, and locks it. Errors: permission (77) for a
  // symbolic link in the place of a run's file or folder, and for something that is neither file nor folder on the way;
  // cannot_create (73) when it cannot be created or another run holds it (naming its pid).
  explicit RunFolder(const std::filesystem::path& path);
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;
  ~RunFolder();  // removes the lock file

  // As it was given, or without the links and '..' that were in it: it stays the same folder when a link is switched.
  const std::filesystem::path& path() const { return path_; }
  bool is_as_given() const { return is_as_given_; }
  Fd open_logs() const;  // the folder logs/, created if missing. Errors: cannot_create (73), permission (77)

 private:
  void lock();

  std::filesystem::path path_;
  bool is_as_given_;
  Fd folder_;
  Fd lock_;
};

}  // namespace ddp
