// What the first byte of a rank's line of output tells the launcher; a line without a mark is printed with the rank's
// prefix.
#pragma once

namespace ddp {

inline constexpr char kStatusMark = '\x1e';   // transient: redrawn in place on a terminal, never in the log
inline constexpr char kLogMark = '\x1d';      // only logged: what the launcher says in words of its own
inline constexpr char kConsoleMark = '\x1f';  // printed as it is, and logged
inline constexpr char kStepMark = '\x1c';     // likewise, of fields; a narrow terminal shows as many as fit in a row

constexpr bool is_line_mark(char c) { return c == kStatusMark || c == kLogMark || c == kConsoleMark || c == kStepMark; }

}  // namespace ddp
