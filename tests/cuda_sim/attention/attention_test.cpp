// The attention kernels of kernels/cuda, on the emulator or a GPU: f32 against loops in double and the CPU backend, f16
// and bf16 within twice the error of a naive implementation in the same type. The harness poisons outputs, guards their
// surroundings, and demands the same bits under every schedule and seed.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "kernels/cuda/float16.h"
#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

constexpr double kTolerance = 4e-6;  // f32, relative to the largest result: sums of up to T * D products
constexpr float kInputs = 1.5f;      // largest
constexpr int64_t kLengths[] = {1, 7, 33, 64, 100, 130, 256};
const uint32_t kStep = 9;
const std::vector<int32_t> kSampleIds = {3, 1000};

AttentionShape shape(int64_t b, int64_t t, int64_t h) { return {.b = b, .t = t, .h = h, .d = 64}; }

Dropout some_dropout(float p) { return lend_to_device({.p = p, .seed = 21, .site = 2}, kStep, kSampleIds); }

// A GPU below compute capability 8.0 multiplies no bf16.
template <class T>
bool is_computed() {
  const std::vector<DType> types = storage_types();
  return std::find(types.begin(), types.end(), kDTypeOf<T>) != types.end();
}

template <class T>
std::vector<T> poisoned(int64_t n) {
  return std::vector<T>(size_t(n), T(std::numeric_limits<float>::quiet_NaN()));
}

// Forward, then backward: out, lse and dqkv.
template <class T>
Outputs both_ways(const AttentionShape& s, const std::vector<T>& qkv, const std::vector<T>& dout,
                  const Dropout& dropout = {}) {
  return in_every_setting([&](Run& run) {
    const Shape rows{s.b, s.t, s.c()}, qkv_shape{s.b, s.t, 3 * s.c()};
    const AttentionForward forward{.out = run.output(poisoned<T>(rows.numel()), rows),
                                   .lse = run.output({s.b, s.h, s.t}),
                                   .qkv = view(qkv, qkv_shape),
                                   .heads = s.h,
                                   .dropout = dropout};
    attention_forward(run.exec(), forward);
    attention_backward(run.exec(), {.dqkv = run.output(poisoned<T>(qkv_shape.numel()), qkv_shape),
                                    .dout = view(dout, rows),
                                    .out = forward.out,
                                    .qkv = forward.qkv,
                                    .lse = forward.lse,
                                    .workspace = run.output({attention_workspace(s.b, s.t, s.h) / 4}),
                                    .heads = s.h,
                                    .dropout = dropout});
  });
}

struct CpuForward {
  Floats out, lse;
};
CpuForward forward_on_cpu(const AttentionShape& s, const Floats& qkv, const Dropout& dropout) {
  const std::unique_ptr<Device> device = make_cpu_device({.spin_pauses = 0});
  Stream stream(*device, StreamRole::compute);
  CpuForward result{poison(s.b * s.t * s.c()), poison(s.b * s.h * s.t)};
  attention_forward({.table = &cpu_op_table(), .stream = &stream}, {.out = view(result.out, {s.b, s.t, s.c()}),
                                                                    .lse = view(result.lse, {s.b, s.h, s.t}),
                                                                    .qkv = view(qkv, {s.b, s.t, 3 * s.c()}),
                                                                    .heads = s.h,
                                                                    .dropout = dropout});
  Event done(*device);
  done.record(stream);
  done.synchronize({.timeout_ms = 60'000});
  return result;
}

template <class T>
std::vector<T> narrowed(const Floats& x) {
  return std::vector<T>(x.begin(), x.end());
}

template <class T>
Vec widen_all(const std::vector<T>& x) {
  Vec out;
  for (T v : x) out.push_back(double(float(v)));
  return out;
}

void check_f32(const AttentionShape& s, float p) {
  CAPTURE(s.b, s.t, s.h, p);
  const Floats qkv = randoms(uint32_t(s.t), s.b * s.t * 3 * s.c(), kInputs), dout = randoms(2, s.b * s.t * s.c());
  const Dropout dropout = some_dropout(p);
  const Vec mask = p > 0.0f ? attention_mask(dropout, s.b, s.h, s.t) : Vec{};
  const AttentionOut want = attention(widen(qkv), mask, s);
  const Vec grad = attention_grad(widen(dout), widen(qkv), mask, s);

  const Outputs got = both_ways(s, qkv, dout, dropout);
  check_close(got[0], want.out, kTolerance, largest(want.out));
  check_close(got[1], want.lse, kTolerance, largest(want.lse));
  // A probability inherits the absolute error of its score.
  const double scores = kInputs * kInputs * std::sqrt(double(s.d));
  check_close(got[2], grad, kTolerance * scores, largest(grad));

  const CpuForward cpu = forward_on_cpu(s, qkv, dropout);
  check_close(got[0], widen(cpu.out), 2 * kTolerance, largest(want.out));
  check_close(got[1], widen(cpu.lse), 2 * kTolerance, largest(want.lse));
}

// Largest |got - want| of part `part` (q, k, v: 0, 1, 2) of rows (3 C).
double worst_of_part(const Vec& got, const Vec& want, int64_t c, int64_t part) {
  double error = 0.0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (int64_t(i) / c % 3 != part) continue;
    const double e = std::abs(got[i] - want[i]);
    if (!(e <= error)) error = e;  // and stays NaN
  }
  return error;
}

template <class T>
void check_16_bits(const AttentionShape& s, float p) {
  if (!is_computed<T>()) return;
  CAPTURE(s.b, s.t, s.h, p);
  const std::vector<T> qkv = narrowed<T>(randoms(uint32_t(s.t), s.b * s.t * 3 * s.c(), kInputs)),
                       dout = narrowed<T>(randoms(2, s.b * s.t * s.c()));
  const Dropout dropout = some_dropout(p);
  const Vec mask = p > 0.0f ? attention_mask(dropout, s.b, s.h, s.t) : Vec{};
  const AttentionOut want = attention(widen_all(qkv), mask, s);
  const Vec grad = attention_grad(widen_all(dout), widen_all(qkv), mask, s);
  constexpr DType kType = kDTypeOf<T>;
  const Round round = rounding_to(kType);
  const Vec naive_out = rounded(attention(widen_all(qkv), mask, s, round).out, kType),
            naive_grad = rounded(attention_grad(widen_all(dout), widen_all(qkv), mask, s, round), kType);

  const Outputs got = both_ways(s, qkv, dout, dropout);
  constexpr double kExact = 1e-6;  // where the naive result is exact, f32 sums still are not
  const Vec out = widen_all(got.as<T>(0)), dqkv = widen_all(got.as<T>(2));
  for (const int64_t third : {0, 1, 2}) {
    CAPTURE(third);
    CHECK(worst_of_part(out, want.out, 1, third) <= 2 * worst_of_part(naive_out, want.out, 1, third) + kExact);
    CHECK(worst_of_part(dqkv, grad, s.c(), third) <= 2 * worst_of_part(naive_grad, grad, s.c(), third) + kExact);
  }
  check_close(got[1], want.lse, kTolerance, largest(want.lse));
}

TEST_CASE("attention f32: every length agrees with double and with the CPU backend") {
  for (const int64_t t : kLengths) check_f32(shape(1, t, 1), 0.0f);
}

TEST_CASE("attention f32: samples and heads, with and without dropout") {
  for (const float p : {0.0f, 0.25f}) {
    check_f32(shape(2, 33, 3), p);
    check_f32(shape(2, 130, 2), p);
  }
}

TEMPLATE_TEST_CASE("attention in 16 bits: every length is within twice the error of a naive implementation", "", half,
                   bfloat16) {
  for (const int64_t t : kLengths) check_16_bits<TestType>(shape(1, t, 1), 0.0f);
}

TEMPLATE_TEST_CASE("attention in 16 bits: samples and heads, with and without dropout", "", half, bfloat16) {
  for (const float p : {0.0f, 0.25f}) {
    check_16_bits<TestType>(shape(2, 33, 3), p);
    check_16_bits<TestType>(shape(2, 130, 2), p);
  }
}

// Scores are all equal. Values, and gradients of outputs, are unit vectors in a window of 64 positions: where element d
// of out (q) is not zero the probability (q, window + d) was kept, and likewise of dv (k) that of (window + d, k).
template <class T>
void check_kept(const AttentionShape& s, const Dropout& dropout) {
  if (!is_computed<T>()) return;
  int64_t wrong_forward = 0, wrong_backward = 0, wrong_cpu = 0;
  for (int64_t window = 0; window < s.t; window += s.d) {
    const int64_t end = std::min(window + s.d, s.t);
    std::vector<T> qkv(size_t(s.b * s.t * 3 * s.c()), T(0.0f)), dout(size_t(s.b * s.t * s.c()), T(0.0f));
    const auto out_at = [&](int64_t b, int64_t t, int64_t h, int64_t d) {
      return size_t((b * s.t + t) * s.c() + h * s.d + d);
    };
    const auto value_at = [&](int64_t b, int64_t t, int64_t h, int64_t d) {
      return size_t(((b * s.t + t) * 3 + 2) * s.c() + h * s.d + d);
    };
    for (int64_t b = 0; b < s.b; ++b)
      for (int64_t h = 0; h < s.h; ++h)
        for (int64_t t = window; t < end; ++t)
          qkv[value_at(b, t, h, t - window)] = dout[out_at(b, t, h, t - window)] = T(1.0f);

    const Outputs got = both_ways(s, qkv, dout, dropout);
    const std::vector<T> out = got.as<T>(0), dqkv = got.as<T>(2);
    const Floats cpu = forward_on_cpu(s, Floats(qkv.begin(), qkv.end()), dropout).out;
    for (int64_t b = 0; b < s.b; ++b)
      for (int64_t h = 0; h < s.h; ++h)
        for (int64_t t = 0; t < s.t; ++t)
          for (int64_t other = window; other < end; ++other) {
            const auto kept = [&](int64_t q, int64_t k) {
              return k <= q && keep_probability(dropout, b, h, q, k) != 0.0f;
            };
            const size_t at = out_at(b, t, h, other - window);
            wrong_forward += (float(out[at]) != 0.0f) != kept(t, other);
            wrong_cpu += (float(out[at]) != 0.0f) != (cpu[at] != 0.0f);
            wrong_backward += (float(dqkv[value_at(b, t, h, other - window)]) != 0.0f) != kept(other, t);
          }
  }
  CHECK(wrong_forward == 0);
  CHECK(wrong_cpu == 0);
  CHECK(wrong_backward == 0);
}

TEST_CASE("attention dropout: forward and backward keep what the definition and the CPU backend keep") {
  check_kept<float>(shape(2, 100, 2), some_dropout(0.3f));
  check_kept<half>(shape(2, 100, 2), some_dropout(0.3f));
  check_kept<bfloat16>(shape(2, 100, 2), some_dropout(0.3f));
}

TEST_CASE("attention: large scores leave finite, exact probabilities") {
  const AttentionShape s = shape(1, 70, 1);
  const Floats qkv = randoms(3, s.t * 3 * s.c(), 10.0f), dout = randoms(4, s.t * s.c());
  const AttentionOut want = attention(widen(qkv), {}, s);
  const Outputs got = both_ways(s, qkv, dout);
  check_close(got[0], want.out, 1e-3, largest(want.out));
  check_close(got[1], want.lse, kTolerance, largest(want.lse));
}

TEST_CASE("attention: heads that are not 64 wide are refused, and how to choose them is said") {
  const AttentionShape s{.b = 1, .t = 8, .h = 2, .d = 32};
  try {
    both_ways(s, Floats(size_t(s.t * 3 * s.c())), Floats(size_t(s.t * s.c())));
    FAIL("accepted");
  } catch (const Error& e) {
    CHECK(e.code() == ExitCode::config);
    CHECK_THAT(e.what(), Catch::Contains("32 wide") && Catch::Contains("width / 64"));
  }
}

}  // namespace
}  // namespace ddp::test
