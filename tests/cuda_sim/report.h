// What the simulator finds. A report that nobody collects prints one line and ends the process (exit code 70), so that
// no run passes with a race in it; tests that plant a fault collect instead.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>
#include <vector>

namespace ddp::sim {

// `fault` is the name of what is wrong, e.g. "shared memory race"; `text` says where.
struct Report {
  std::string fault, text;
};

void add_report(std::string_view fault, std::string_view text);

template <class... T>
void report(std::string_view fault, fmt::format_string<T...> format, T&&... values) {
  add_report(fault, fmt::format(format, std::forward<T>(values)...));
}

// While it lives, reports of every thread of the process go here: the first few of each fault.
class ReportCollector {
 public:
  ReportCollector();
  ~ReportCollector();
  ReportCollector(const ReportCollector&) = delete;
  ReportCollector& operator=(const ReportCollector&) = delete;

  std::vector<Report> reports() const;
  bool found(std::string_view fault) const;
};

}  // namespace ddp::sim
