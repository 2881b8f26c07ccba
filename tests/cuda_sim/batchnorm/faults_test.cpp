// What the checked build makes of faults in the kernels of batch norm: a missing barrier, a row too many, a misaligned
// access. (A wrong index of a pooling window is a wrong number: tests/ops/batchnorm_pool_test.cpp.)
#include <catch2/catch.hpp>
#include <set>

#include "kernels/cuda/run.h"
#include "kernels/ops/norm.h"
#include "tests/cuda_sim/attention/droppable.h"
#include "tests/cuda_sim/emulator/grid.h"
#include "tests/cuda_sim/report.h"

namespace ddp::test {
namespace {

struct {
  std::set<int> seen;  // lines
  int dropped;         // this one does nothing
  bool no_alignment;
} planted;

}  // namespace

bool ignores_alignment() { return planted.no_alignment; }

void droppable_block_barrier(const char*, int line) {
  planted.seen.insert(line);
  if (line != planted.dropped) sim::block_barrier(line);
}
void droppable_warp_barrier(const char*, int) { sim::warp_operation(0xffffffffu, nullptr, nullptr); }

namespace {

constexpr int64_t kN = 2, kH = 9, kW = 10, kC = 8, kRows = kN * kH * kW, kP = 5, kQ = 5;

// Zeros: the checker looks at addresses, not values. Room behind them, since what is out of bounds is reported, not
// prevented.
class DeviceZeros {
 public:
  explicit DeviceZeros(int64_t n, int64_t first = 0) : values_(size_t(n + kRoom), 0.0f), first_(first) {
    sim::add_device_memory(values_.data(), size_t(n) * sizeof(float));
  }
  ~DeviceZeros() { sim::remove_device_memory(values_.data()); }
  DeviceZeros(const DeviceZeros&) = delete;
  DeviceZeros& operator=(const DeviceZeros&) = delete;
  TensorView view(const Shape& shape, DType type = DType::f32) { return {values_.data() + first_, type, shape}; }

 private:
  static constexpr int64_t kRoom = 256;
  std::vector<float> values_;
  int64_t first_;
};

// Rows of x that the ops believe in beyond those there are, and elements by which it is off 16 bytes.
struct Faults {
  int64_t more_rows = 0, offset = 0;
};

struct Tensors {
  explicit Tensors(const Faults& f) : rows(kRows + f.more_rows), x(kRows * kC + f.offset, f.offset) {}
  BatchNormAffine affine() {
    return {.mean = mean.view({kC}), .rstd = rstd.view({kC}), .w = w.view({kC}), .b = b.view({kC})};
  }
  int64_t rows;
  DeviceZeros x, y{(kRows + 1) * kC}, dy{(kRows + 1) * kC}, mean{kC}, rstd{kC}, w{kC}, b{kC}, dw{kC}, db{kC},
      workspace{1024};
};

void statistics(Stream& stream, Tensors& t) {
  cuda::run(stream, BatchNormStatistics{.mean = t.mean.view({kC}),
                                        .rstd = t.rstd.view({kC}),
                                        .x = t.x.view({t.rows, kC}),
                                        .workspace = t.workspace.view({1024})});
}
void apply(Stream& stream, Tensors& t) {
  cuda::run(stream, BatchNormApply{
                        .y = t.y.view({t.rows, kC}), .x = t.x.view({t.rows, kC}), .affine = t.affine(), .relu = true});
}
void backward(Stream& stream, Tensors& t) {
  cuda::run(stream, BatchNormBackward{.dx = t.y.view({t.rows, kC}),
                                      .dw = t.dw.view({kC}),
                                      .db = t.db.view({kC}),
                                      .dy = t.dy.view({t.rows, kC}),
                                      .x = t.x.view({t.rows, kC}),
                                      .affine = t.affine(),
                                      .workspace = t.workspace.view({1024}),
                                      .relu = true});
}
// Positions are rows: with one too many, they are those of a single image row.
Shape image(const Tensors& t) { return t.rows == kRows ? Shape{kN, kH, kW, kC} : Shape{1, 1, t.rows, kC}; }
Shape pooled(const Tensors& t) { return t.rows == kRows ? Shape{kN, kP, kQ, kC} : Shape{1, 1, (t.rows + 1) / 2, kC}; }
void pool(Stream& stream, Tensors& t) {
  cuda::run(stream, BatchNormPool{.y = t.y.view(pooled(t)), .x = t.x.view(image(t)), .affine = t.affine()});
}
void pool_backward(Stream& stream, Tensors& t) {
  DeviceZeros index(pooled(t).numel() / 4);
  cuda::run(stream, BatchNormPoolBackward{.dx = t.y.view(image(t)),
                                          .dw = t.dw.view({kC}),
                                          .db = t.db.view({kC}),
                                          .dy = t.dy.view(pooled(t)),
                                          .index = index.view(pooled(t), DType::u8),
                                          .x = t.x.view(image(t)),
                                          .affine = t.affine(),
                                          .workspace = t.workspace.view({1024})});
}

using Op = void (*)(Stream&, Tensors&);

std::vector<sim::Report> reports_of(Op op, const Faults& faults = {}) {
  const std::unique_ptr<Device> device = make_meta_device();
  Stream stream(*device, StreamRole::compute);
  Tensors tensors(faults);
  const sim::ReportCollector collector;
  op(stream, tensors);
  return collector.reports();
}

void check_caught(const std::vector<sim::Report>& reports, const std::set<std::string>& faults) {
  REQUIRE_FALSE(reports.empty());
  CAPTURE(reports[0].fault, reports[0].text);
  CHECK(faults.count(reports[0].fault) == 1);
}

TEST_CASE("batchnorm and its pooling: a missing barrier is caught, whichever it is") {
  for (const Op op : {statistics, backward, pool_backward}) {
    planted = {};
    CHECK(reports_of(op).empty());
    const std::set<int> lines = planted.seen;
    REQUIRE_FALSE(lines.empty());
    for (const int line : lines) {
      planted.dropped = line;
      check_caught(reports_of(op), {"shared memory race", "uninitialised shared memory"});
    }
  }
}

TEST_CASE("batchnorm and its pooling: a row too many is out of bounds") {
  planted = {};
  for (const Op op : {statistics, apply, backward, pool, pool_backward})
    check_caught(reports_of(op, {.more_rows = 1}), {"global memory out of bounds"});
}

TEST_CASE("batchnorm and its pooling: 16 bytes from where no 16 bytes begin are a misaligned access") {
  for (const Op op : {statistics, apply, backward, pool, pool_backward}) {
    planted = {};
    CHECK(reports_of(op, {.offset = 1}).empty());
    planted.no_alignment = true;
    check_caught(reports_of(op, {.offset = 1}), {"misaligned access"});
  }
}

}  // namespace
}  // namespace ddp::test
