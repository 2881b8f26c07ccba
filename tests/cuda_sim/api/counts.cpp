#include "tests/cuda_sim/api/counts.h"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "tests/cuda_sim/api/memory.h"
#include "tests/cuda_sim/report.h"

namespace ddp::sim {
namespace {

struct Counts {
  std::mutex mutex;
  std::map<std::string, int64_t> work, host_synchronisations;
  std::map<std::string, std::pair<int64_t, int64_t>> kernel_bytes;  // read, written
  size_t device_bytes = 0;  // allocated when the last work was submitted that uses memory
};

void write_counts();

// Never destroyed: the GPU's thread may still count when the process ends.
Counts& counts() {
  static Counts* const the_counts = [] {
    if (std::getenv("DDP_SIM_COUNTS") != nullptr) std::atexit(write_counts);
    return new Counts;
  }();
  return *the_counts;
}

void write_counts() {
  Counts& c = counts();
  const std::lock_guard lock(c.mutex);
  nlohmann::json out = {{"kernels", nlohmann::json::object()},
                        {"other", nlohmann::json::object()},
                        {"host_synchronisations", nlohmann::json::object()},
                        {"memory", {{"device_bytes", c.device_bytes}}}};
  for (const auto& [name, n] : c.work) {
    if (const auto bytes = c.kernel_bytes.find(name); bytes == c.kernel_bytes.end())
      out["other"][name] = n;
    else
      out["kernels"][name] = {
          {"launches", n}, {"bytes_read", bytes->second.first}, {"bytes_written", bytes->second.second}};
  }
  for (const auto& [call, n] : c.host_synchronisations) out["host_synchronisations"][call] = n;
  const std::string text = out.dump(2) + "\n";
  const char* rank = std::getenv("RANK");
  const std::string path = std::string(std::getenv("DDP_SIM_COUNTS")) + "." + (rank != nullptr ? rank : "0");
  std::FILE* file = std::fopen(path.c_str(), "w");
  if (file == nullptr) return report("simulator", "cannot write {}", path);
  std::fwrite(text.data(), 1, text.size(), file);
  std::fclose(file);
}

}  // namespace

void count_work(const char* name) {
  Counts& c = counts();
  const std::lock_guard lock(c.mutex);
  ++c.work[name];
  // Events use none: by one a stream's end is waited for when the first memory is free again.
  if (!std::string_view(name).starts_with("event")) c.device_bytes = device_bytes_used();
}

void count_kernel(const char* name, int64_t bytes_read, int64_t bytes_written) {
  Counts& c = counts();
  const std::lock_guard lock(c.mutex);
  auto& [read, written] = c.kernel_bytes[name];
  read += bytes_read, written += bytes_written;
}

void count_host_synchronisation(const char* call) {
  Counts& c = counts();
  const std::lock_guard lock(c.mutex);
  ++c.host_synchronisations[call];
}

}  // namespace ddp::sim
