// Words of commands that are printed for people to paste into a shell.
#pragma once

#include <string>
#include <string_view>

namespace ddp {

// The word as it is where that is safe, else in single quotes.
std::string shell_word(std::string_view word);
// The same of a path, which no program takes for an option.
std::string shell_path(std::string_view path);

}  // namespace ddp
