// Paths as people type them into a configuration, where no shell reads them: a leading ~/ is the home folder, $NAME and
// ${NAME} are the environment's, $$ is a dollar. What a run stores, and what is printed of it, is the path itself.
#pragma once

#include <string>
#include <string_view>

namespace ddp {

// The path that is meant; what a variable holds is taken as it is. `key` and `where` stand for the text in errors.
// Errors: config (78) where a variable, or HOME, is not set or empty, for ~NAME, and for a $ that no name follows.
std::string path_from_text(std::string_view text, std::string_view key, const std::string& where);

// A text that means this path.
std::string path_as_text(std::string_view path);

}  // namespace ddp
