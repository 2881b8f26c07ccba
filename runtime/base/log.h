// Logging over spdlog, which stays out of headers (it costs 3 s a translation unit). A rank's log goes to its standard
// output, which the launcher prefixes with the rank and copies to logs/rank-N.log.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>

namespace ddp::log {

enum class Level { debug, info, warn, error };

// Sets the level and the pattern; to be called once in main. Level from DDP_LOG (debug|info|warn|error) where set.
void init();
void write(Level level, std::string_view text);
// To the rank's log alone, not to the console: what is too long or of too little use there.
void note(std::string_view text);

template <class... T>
void debug(fmt::format_string<T...> format, T&&... values) {
  write(Level::debug, fmt::format(format, std::forward<T>(values)...));
}
template <class... T>
void info(fmt::format_string<T...> format, T&&... values) {
  write(Level::info, fmt::format(format, std::forward<T>(values)...));
}
template <class... T>
void warn(fmt::format_string<T...> format, T&&... values) {
  write(Level::warn, fmt::format(format, std::forward<T>(values)...));
}
template <class... T>
void error(fmt::format_string<T...> format, T&&... values) {
  write(Level::error, fmt::format(format, std::forward<T>(values)...));
}

}  // namespace ddp::log
