#include "launcher/data_paths.h"

#include <errno.h>
#include <fmt/format.h>
#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "launcher/run.h"
#include "runtime/base/error.h"

namespace ddp {
namespace {

struct Matches {
  glob_t found = {};
  ~Matches() { ::globfree(&found); }
};

bool is_pattern(const std::string& path) {
  std::error_code error;
  return path.find_first_of("*?[") != path.npos && !std::filesystem::exists(path, error);
}

std::vector<std::string> matches_of(const char* key, const std::string& pattern) {
  Matches matches;
  errno = 0;
  const int result = ::glob(pattern.c_str(), GLOB_ERR | GLOB_NOSORT | GLOB_NOESCAPE, nullptr, &matches.found);
  if (result == GLOB_NOMATCH)
    throw Error(ExitCode::no_input, fmt::format("{}: nothing matches {}", key, pattern),
                "is the folder right, as seen from the working directory?");
  if (result != 0)
    throw Error(ExitCode::no_input, fmt::format("{}: cannot look for {}: {}", key, pattern, errno_text(errno)));
  std::vector<std::string> paths(matches.found.gl_pathv, matches.found.gl_pathv + matches.found.gl_pathc);
  std::ranges::sort(paths);
  return paths;
}

}  // namespace

void expand_patterns(const char* key, PathList& list) {
  std::vector<std::string> paths;
  for (const std::string& path : list.paths) {
    if (is_pattern(path))
      std::ranges::move(matches_of(key, path), std::back_inserter(paths));
    else
      paths.push_back(path);
  }
  if (paths.size() > kMaxPaths)
    throw Error(ExitCode::config, fmt::format("{} names {} files; the limit is {}", key, paths.size(), kMaxPaths),
                "join some of them");
  list.paths = std::move(paths);
}

void check_paths(const char* key, const PathList& list, DataPath kind) {
  std::map<std::pair<dev_t, ino_t>, const std::string*> seen;
  for (const std::string& path : list.paths) {
    check_input(key, path, kind);
    struct stat info;
    if (kind == DataPath::none || ::stat(path.c_str(), &info) != 0) continue;
    const auto [first, is_new] = seen.try_emplace({info.st_dev, info.st_ino}, &path);
    if (!is_new)
      throw Error(ExitCode::config,
                  fmt::format("{} names {} and {}, which are the same file", key, *first->second, path),
                  "name it once");
  }
}

}  // namespace ddp
