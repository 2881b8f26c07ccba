#include "runtime/base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <cstdlib>

#include "runtime/base/line_marks.h"

namespace ddp::log {

void init() {
  auto logger = spdlog::stdout_logger_mt("ddp");
  logger->set_pattern("%H:%M:%S %l %v");
  logger->flush_on(spdlog::level::debug);
  if (const char* level = std::getenv("DDP_LOG")) logger->set_level(spdlog::level::from_str(level));
  spdlog::set_default_logger(logger);
}

void write(Level level, std::string_view text) {
  switch (level) {
    case Level::debug:
      return spdlog::debug(text);
    case Level::info:
      return spdlog::info(text);
    case Level::warn:
      return spdlog::warn(text);
    case Level::error:
      return spdlog::error(text);
  }
}

void note(std::string_view text) {
  fmt::print("{}{}\n", kLogMark, text);
  std::fflush(stdout);
}

}  // namespace ddp::log
