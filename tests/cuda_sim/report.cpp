#include "tests/cuda_sim/report.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "runtime/base/exit_codes.h"

namespace ddp::sim {
namespace {

constexpr auto kKept = 4;  // of each fault

std::mutex mutex;
bool collecting = false;
std::vector<Report> collected;

}  // namespace

void add_report(std::string_view fault, std::string_view text) {
  const std::lock_guard lock(mutex);
  if (!collecting) {
    fmt::print(stderr, "cuda_sim: {}: {}\n", fault, text);
    std::_Exit(int(ExitCode::internal));  // it may be a fiber's stack: no handlers, no destructors
  }
  if (std::count_if(collected.begin(), collected.end(), [&](const Report& r) { return r.fault == fault; }) < kKept)
    collected.push_back({std::string(fault), std::string(text)});
}

ReportCollector::ReportCollector() {
  const std::lock_guard lock(mutex);
  collecting = true;
  collected.clear();
}

ReportCollector::~ReportCollector() {
  const std::lock_guard lock(mutex);
  collecting = false;
}

std::vector<Report> ReportCollector::reports() const {
  const std::lock_guard lock(mutex);
  return collected;
}

bool ReportCollector::found(std::string_view fault) const {
  const std::vector<Report> all = reports();
  return std::any_of(all.begin(), all.end(), [&](const Report& r) { return r.fault == fault; });
}

}  // namespace ddp::sim
