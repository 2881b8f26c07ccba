#include "tests/ops/harness.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "tests/support/from_f32.h"

namespace ddp::test {
namespace {

constexpr size_t kGuardBytes = 256;
constexpr std::byte kGuard{0xA5};

// f(S{}) for the C++ type of a storage type.
template <class F>
auto with_type(DType type, F f) {
  if (type == DType::f16) return f(Half{});
  if (type == DType::bf16) return f(BFloat16{});
  return f(float{});
}

Floats widen_bytes(DType type, const std::vector<std::byte>& bytes) {
  return with_type(type, [&]<class S>(S) {
    Floats out;
    for (size_t at = 0; at < bytes.size(); at += sizeof(S)) {
      S x;
      std::memcpy(&x, bytes.data() + at, sizeof(S));
      out.push_back(to_f32(x));
    }
    return out;
  });
}

}  // namespace

Floats randoms(uint32_t seed, int64_t n, float scale) {
  std::mt19937 engine(seed);
  Floats out(static_cast<size_t>(n));
  for (float& x : out) x = scale * (float(engine() >> 8) * 0x1p-23f - 1.0f);
  return out;
}

Floats poison(int64_t n) { return Floats(size_t(n), std::numeric_limits<float>::quiet_NaN()); }

std::vector<DType> grad_types(DType storage, bool accumulate) {
  if (storage == DType::f32 || accumulate) return {DType::f32};
  return {DType::f32, storage};
}

Stored::Stored(DType type, const Floats& values) : type_(type), bytes_(values.size() * dtype_bytes(type)) {
  with_type(type, [&]<class S>(S) {
    for (size_t i = 0; i < values.size(); ++i) {
      const S x = from_f32<S>(values[i]);
      std::memcpy(bytes_.data() + i * sizeof(S), &x, sizeof(S));
    }
  });
}

TensorView Stored::view(const Shape& shape) const {
  DDP_CHECK(bytes_.size() == size_t(shape.numel()) * dtype_bytes(type_), "{} bytes as {}", bytes_.size(), shape.text());
  lend_to_device(static_cast<const void*>(bytes_.data()), bytes_.size());
  return {const_cast<std::byte*>(bytes_.data()), type_, shape};
}

Floats Stored::values() const { return widen_bytes(type_, bytes_); }
Vec Stored::wide() const { return widen(values()); }

Floats Outputs::values(size_t i, DType type) const { return widen_bytes(type, bytes_.at(i)); }

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

void check_close(const Floats& got, const Vec& want, double tolerance, double magnitude, DType type) {
  REQUIRE(got.size() == want.size());
  const double subnormal = type == DType::f16 ? 0x1p-25 : 0.0;  // half the smallest
  double worst = 0.0;
  size_t at = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double allowed = tolerance * (std::abs(want[i]) + magnitude) + rounding(type) * std::abs(want[i]) + subnormal;
    const double error = std::abs(double(got[i]) - want[i]) / allowed;
    if (!(error <= worst)) worst = error, at = i;
    if (std::isnan(error)) break;
  }
  INFO("element " << at << " of " << got.size() << ": " << (got.empty() ? 0.0f : got[at]) << ", expected "
                  << (want.empty() ? 0.0 : want[at]));
  CHECK(worst <= 1.0);  // of what is allowed
}

Vec widen(const Floats& x) { return Vec(x.begin(), x.end()); }

double largest(const Vec& x) {
  double m = 0.0;
  for (double v : x) m = std::max(m, std::abs(v));
  return m;
}

}  // namespace ddp::test
