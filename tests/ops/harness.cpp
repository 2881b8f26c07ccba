#include "tests/ops/harness.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

namespace ddp::test {
namespace {

constexpr size_t kGuardBytes = 256;
constexpr std::byte kGuard{0xA5};

}  // namespace

Floats randoms(uint32_t seed, int64_t n, float scale) {
  std::mt19937 engine(seed);
  Floats out(static_cast<size_t>(n));
  for (float& x : out) x = scale * (float(engine() >> 8) * 0x1p-23f - 1.0f);
  return out;
}

Floats poison(int64_t n) { return Floats(size_t(n), std::numeric_limits<float>::quiet_NaN()); }

Run::Run(int setting) : device_(make_test_device(setting)), stream_(*device_, StreamRole::compute) {
  exec_ = {.table = &test_op_table(), .stream = &stream_};
}

void* Run::add(std::span<const std::byte> before) {
  std::vector<std::byte>& memory = guarded_.emplace_back(before.size() + 2 * kGuardBytes, kGuard);
  std::copy(before.begin(), before.end(), memory.begin() + kGuardBytes);
  return lend_to_device(memory.data() + kGuardBytes, int64_t(before.size()));
}

std::vector<std::vector<std::byte>> Run::finish() {
  Event done(*device_);
  done.record(stream_);
  done.synchronize({.timeout_ms = 60'000});
  std::vector<std::vector<std::byte>> out;
  for (const std::vector<std::byte>& memory : guarded_) {
    const auto begin = memory.begin() + kGuardBytes, end = memory.end() - kGuardBytes;
    const auto untouched = [](std::byte b) { return b == kGuard; };
    CHECK(std::all_of(memory.begin(), begin, untouched));
    CHECK(std::all_of(end, memory.end(), untouched));
    out.emplace_back(begin, end);
  }
  return out;
}

void check_same_bits(const Outputs& got, const Outputs& want, int setting) {
  INFO("setting " << setting << " against setting 0");
  CHECK(got == want);
}

void check_close(const Floats& got, const Vec& want, double tolerance, double magnitude) {
  REQUIRE(got.size() == want.size());
  double worst = 0.0;
  size_t at = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(double(got[i]) - want[i]) / (std::abs(want[i]) + magnitude);
    if (!(error <= worst)) worst = error, at = i;
    if (std::isnan(error)) break;
  }
  INFO("element " << at << " of " << got.size() << ": " << (got.empty() ? 0.0f : got[at]) << ", expected "
                  << (want.empty() ? 0.0 : want[at]));
  CHECK(worst <= tolerance);
}

Vec widen(const Floats& x) { return Vec(x.begin(), x.end()); }

double largest(const Vec& x) {
  double m = 0.0;
  for (double v : x) m = std::max(m, std::abs(v));
  return m;
}

}  // namespace ddp::test
