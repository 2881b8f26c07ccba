// Where a path leads that its user wrote, through links and '..', also where its end does not exist yet.
#pragma once

#include <filesystem>

namespace ddp {

// `path` itself where it has neither links nor '..' in it; else the absolute path without them. What does not exist
// stays as it was written. Errors: cannot_create (73), naming the part, for a link that leads nowhere or in a circle, a
// part that may not be searched, and one that is no folder.
std::filesystem::path real_path(const std::filesystem::path& path);

}  // namespace ddp
