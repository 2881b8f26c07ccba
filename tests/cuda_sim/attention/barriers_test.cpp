// Every __syncthreads and __syncwarp of the attention kernels is needed, and the checked build names the race that
// appears where one is missing.
#include <catch2/catch.hpp>
#include <set>

#include "kernels/cuda/float16.h"
#include "kernels/cuda/run.h"
#include "kernels/ops/attention.h"
#include "tests/cuda_sim/attention/droppable.h"
#include "tests/cuda_sim/emulator/grid.h"
#include "tests/cuda_sim/report.h"

namespace ddp::test {

namespace {

struct Site {
  std::string_view file;
  int line;
  auto operator<=>(const Site&) const = default;
};

struct {
  std::set<Site> seen;
  Site dropped;  // this one does nothing

  bool drops(const Site& site) {
    seen.insert(site);
    return site == dropped;
  }
} barriers;

}  // namespace

void droppable_block_barrier(const char* file, int line) {
  if (!barriers.drops({file, line})) sim::block_barrier(line);
}

void droppable_warp_barrier(const char* file, int line) {
  if (!barriers.drops({file, line})) sim::warp_operation(0xffffffffu, nullptr, nullptr);
}

namespace {

constexpr int64_t kT = 130, kHeads = 1;  // several tiles, the last one short

// Zeros: the checker looks at addresses, not values.
template <class T>
class DeviceZeros {
 public:
  explicit DeviceZeros(int64_t n) : values_(size_t(n), T(0.0f)) {
    sim::add_device_memory(values_.data(), values_.size() * sizeof(T));
  }
  ~DeviceZeros() { sim::remove_device_memory(values_.data()); }
  DeviceZeros(const DeviceZeros&) = delete;
  DeviceZeros& operator=(const DeviceZeros&) = delete;
  TensorView view(const Shape& shape) { return {values_.data(), kDTypeOf<T>, shape}; }

 private:
  std::vector<T> values_;
};

// Of a head of `width` columns: causal, or as a text of BERT is read, up to its length.
template <class T>
void run_both_ways(int64_t width, bool causal) {
  const std::unique_ptr<Device> device = make_meta_device();
  Stream stream(*device, StreamRole::compute);
  DeviceZeros<T> qkv(kT * 3 * width), dqkv(kT * 3 * width), out(kT * width), dout(kT * width);
  DeviceZeros<float> lse(kT), delta(kT);
  int32_t length = kT - 3;
  sim::add_device_memory(&length, sizeof length);
  const TensorView lengths = causal ? TensorView() : TensorView(&length, DType::i32, {1});
  const Shape wide{1, kT, 3 * width}, rows{1, kT, width}, stats{1, kHeads, kT};
  cuda::run(
      stream,
      AttentionForward{
          .out = out.view(rows), .lse = lse.view(stats), .qkv = qkv.view(wide), .lengths = lengths, .causal = causal});
  cuda::run(stream, AttentionBackward{.dqkv = dqkv.view(wide),
                                      .dout = dout.view(rows),
                                      .out = out.view(rows),
                                      .qkv = qkv.view(wide),
                                      .lse = lse.view(stats),
                                      .workspace = delta.view(stats),
                                      .lengths = lengths,
                                      .causal = causal});
  sim::remove_device_memory(&length);
}

// In 16 bits a head's own rows stay in registers where they are 64 wide, in shared memory where they are 128 wide.
template <class T>
std::vector<sim::Report> reports_of_both_ways(bool causal) {
  sim::ReportCollector collector;
  for (const int64_t width : {64, 128}) run_both_ways<T>(width, causal);
  return collector.reports();
}

template <class T>
void check_every_barrier(size_t at_least, bool causal) {
  barriers = {};
  CAPTURE(causal);
  CHECK(reports_of_both_ways<T>(causal).empty());
  const std::set<Site> sites = barriers.seen;
  CHECK(sites.size() >= at_least);
  for (const Site& site : sites) {
    CAPTURE(site.file, site.line);
    barriers.dropped = site;
    const std::vector<sim::Report> reports = reports_of_both_ways<T>(causal);
    REQUIRE_FALSE(reports.empty());
    CAPTURE(reports[0].fault, reports[0].text);
    CHECK((reports[0].fault == "shared memory race" || reports[0].fault == "uninitialised shared memory"));
  }
}

TEST_CASE("attention f32: a missing barrier is caught, whichever it is") {
  for (const bool causal : {true, false}) check_every_barrier<float>(9, causal);
}
TEST_CASE("attention f16: a missing barrier is caught, whichever it is") {
  for (const bool causal : {true, false}) check_every_barrier<half>(14, causal);
}
TEST_CASE("attention bf16: a missing barrier is caught, whichever it is") {
  for (const bool causal : {true, false}) check_every_barrier<bfloat16>(14, causal);
}

}  // namespace
}  // namespace ddp::test
