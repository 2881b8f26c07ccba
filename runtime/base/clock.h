// Monotonic time, and the time of day, which jumps: never for deadlines or ordering.
#pragma once

#include <time.h>

#include <cstdint>
#include <string>

namespace ddp {

// CLOCK_MONOTONIC in ns: comparable between processes of one host (the launcher and its ranks).
inline int64_t monotonic_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return int64_t(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

inline double ms_between(int64_t begin_ns, int64_t end_ns) { return double(end_ns - begin_ns) * 1e-6; }

// The time of day: milliseconds since 1970-01-01 in UTC.
inline int64_t time_of_day_ms() {
  timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return int64_t(t.tv_sec) * 1000 + t.tv_nsec / 1'000'000;
}

// A time of day in UTC, now unless given, as strftime's `format` writes it: for people, and for names of files.
inline std::string utc_text(const char* format, time_t at = ::time(nullptr)) {
  tm parts;
  ::gmtime_r(&at, &parts);
  char text[64];
  return {text, ::strftime(text, sizeof text, format, &parts)};
}

}  // namespace ddp
