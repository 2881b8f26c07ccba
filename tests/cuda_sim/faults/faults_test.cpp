// The checked build reports each planted fault by its name, under every schedule, and nothing on the same kernel
// without it.
#include "tests/cuda_sim/faults/faults.h"

#include <algorithm>
#include <catch2/catch.hpp>

#include "tests/cuda_sim/bridge.h"
#include "tests/cuda_sim/emulator/grid.h"
#include "tests/cuda_sim/report.h"

namespace ddp::sim {
namespace {

constexpr int kElements = 256, kSeeds = 20;

using Kernel = void (*)(Stream&, const faults::Arrays&, bool fault);

// The reports of one run. Device memory has room after it, since what is out of bounds is reported, not prevented.
std::vector<Report> reports_of(Kernel kernel, bool fault) {
  constexpr int kRoom = 16;
  alignas(16) static float in[kElements + kRoom], out[kElements + kRoom];
  add_device_memory(in, kElements * sizeof(float));
  add_device_memory(out, kElements * sizeof(float));
  const std::unique_ptr<Device> device = make_meta_device();
  Stream stream(*device, StreamRole::compute);
  const ReportCollector collector;
  kernel(stream, {.out = out, .in = in, .n = kElements}, fault);
  remove_device_memory(in);
  remove_device_memory(out);
  return collector.reports();
}

void check_caught(Kernel kernel, const std::string& fault) {
  for (int seed = 0; seed < kSeeds + 2; ++seed) {
    CAPTURE(seed);
    set_schedule(seed == kSeeds       ? Schedule::ascending
                 : seed == kSeeds + 1 ? Schedule::descending
                                      : Schedule::random,
                 uint64_t(seed));
    const std::vector<Report> clean = reports_of(kernel, false);
    if (!clean.empty()) FAIL_CHECK("false report: " << clean[0].fault << ": " << clean[0].text);
    const std::vector<Report> found = reports_of(kernel, true);
    const auto named = std::find_if(found.begin(), found.end(), [&](const Report& r) { return r.fault == fault; });
    for (const Report& r : found) UNSCOPED_INFO(r.fault << ": " << r.text);
    REQUIRE(named != found.end());
    CHECK_THAT(named->text, Catch::Matchers::Contains("in planted, block ("));
  }
}

TEST_CASE("fault: a missing __syncthreads is a shared memory race") {
  check_caught(faults::syncthreads_missing, "shared memory race");
}
TEST_CASE("fault: a missing __syncwarp is a shared memory race") {
  check_caught(faults::syncwarp_missing, "shared memory race");
}
TEST_CASE("fault: a barrier that only some threads reach") {
  check_caught(faults::barrier_diverges, "divergent barrier");
}
TEST_CASE("fault: a warp operation that only some lanes reach") {
  check_caught(faults::warp_operation_diverges, "divergent warp operation");
}
TEST_CASE("fault: one element past the end of an allocation") {
  check_caught(faults::element_past_the_end, "global memory out of bounds");
}
TEST_CASE("fault: one element past the block's shared memory") {
  check_caught(faults::element_past_shared_memory, "shared memory out of bounds");
}
TEST_CASE("fault: a vector access that is not aligned") {
  check_caught(faults::vector_misaligned, "misaligned access");
}
TEST_CASE("fault: two blocks that write the same element") {
  check_caught(faults::blocks_write_the_same, "global memory race");
}
TEST_CASE("fault: shared memory that is read and was never written") {
  check_caught(faults::shared_memory_not_written, "uninitialised shared memory");
}

TEST_CASE("a launch with more shared memory than an sm_75 block has is invalid") {
  const ReportCollector collector;
  run_grid({"planted", dim3(1), dim3(32), kMaxSharedBytes + 1}, nullptr, nullptr, 0);
  CHECK(collector.found("invalid launch"));
}

}  // namespace
}  // namespace ddp::sim
