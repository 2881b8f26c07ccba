#pragma once

#include <filesystem>
#include <system_error>

namespace ddp {

// Whether there is anything at this path. What cannot be looked at is not there for us, and no error: behind a folder
// that is closed to this user, a loop of links, under a name that is too long.
inline bool is_there(const std::filesystem::path& path) {
  std::error_code none;
  return std::filesystem::exists(path, none);
}

}  // namespace ddp
