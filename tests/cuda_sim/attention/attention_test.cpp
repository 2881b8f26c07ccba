// The attention kernels of kernels/cuda, on the emulator or a GPU, in the shapes of GPT-2's: causal heads of 64. f32
// against loops in double and the CPU backend, f16 and bf16 within twice the error of a naive implementation in the
// same type. The harness poisons outputs, guards their surroundings, and demands the same bits under every schedule and
// seed. Other widths, lengths and what is not causal: tests/ops/attention_masks_test.cpp.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "tests/ops/attention_checks.h"

namespace ddp::test {
namespace {

constexpr int64_t kLengths[] = {1, 7, 33, 64, 100, 130, 256};

AttentionShape shape(int64_t b, int64_t t, int64_t h) { return {.b = b, .t = t, .h = h, .d = 64}; }

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

void check_f32(const AttentionShape& s, float p) {
  const AttentionCall call(DType::f32, s, p);
  const Outputs got = call.run();
  check_attention(call, got);
  const CpuForward cpu = forward_on_cpu(s, call.qkv.values(), call.dropout);
  const Vec out = widen(cpu.out), lse = widen(cpu.lse);
  check_close(got[0], out, 2 * kAttentionTolerance, largest(out));
  check_close(got[1], lse, 2 * kAttentionTolerance, largest(lse));
}

template <class F>
void for_16_bits(F check) {
  for (const DType type : storage_types())
    if (type != DType::f32) check(type);
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

TEST_CASE("attention in 16 bits: every length is within twice the error of a naive implementation") {
  for_16_bits([](DType type) {
    for (const int64_t t : kLengths) check_attention(type, shape(1, t, 1), 0.0f);
  });
}

TEST_CASE("attention in 16 bits: samples and heads, with and without dropout") {
  for_16_bits([](DType type) {
    for (const float p : {0.0f, 0.25f}) {
      check_attention(type, shape(2, 33, 3), p);
      check_attention(type, shape(2, 130, 2), p);
    }
  });
}

// Scores are all equal. Values, and gradients of outputs, are unit vectors in a window of 64 positions: where element d
// of out (q) is not zero the probability (q, window + d) was kept, and likewise of dv (k) that of (window + d, k).
void check_kept(DType type, const AttentionShape& s, float p) {
  CAPTURE(dtype_name(type));
  AttentionCall call(type, s, p);
  const Dropout& dropout = call.dropout;
  int64_t wrong_forward = 0, wrong_backward = 0, wrong_cpu = 0;
  for (int64_t window = 0; window < s.t; window += s.d) {
    const int64_t end = std::min(window + s.d, s.t);
    Floats qkv(size_t(s.b * s.t * 3 * s.c()), 0.0f), dout(size_t(s.b * s.t * s.c()), 0.0f);
    const auto out_at = [&](int64_t b, int64_t t, int64_t h, int64_t d) {
      return size_t((b * s.t + t) * s.c() + h * s.d + d);
    };
    const auto value_at = [&](int64_t b, int64_t t, int64_t h, int64_t d) {
      return size_t(((b * s.t + t) * 3 + 2) * s.c() + h * s.d + d);
    };
    for (int64_t b = 0; b < s.b; ++b)
      for (int64_t h = 0; h < s.h; ++h)
        for (int64_t t = window; t < end; ++t)
          qkv[value_at(b, t, h, t - window)] = dout[out_at(b, t, h, t - window)] = 1.0f;

    call.qkv = Stored(type, qkv), call.dout = Stored(type, dout);
    const Outputs got = call.run();
    const Floats out = got.values(0, type), dqkv = got.values(2, type);
    const Floats cpu = forward_on_cpu(s, qkv, dropout).out;
    for (int64_t b = 0; b < s.b; ++b)
      for (int64_t h = 0; h < s.h; ++h)
        for (int64_t t = 0; t < s.t; ++t)
          for (int64_t other = window; other < end; ++other) {
            const auto kept = [&](int64_t q, int64_t k) {
              return k <= q && keep_probability(dropout, b, h, q, k) != 0.0f;
            };
            const size_t at = out_at(b, t, h, other - window);
            wrong_forward += (out[at] != 0.0f) != kept(t, other);
            wrong_cpu += (out[at] != 0.0f) != (cpu[at] != 0.0f);
            wrong_backward += (dqkv[value_at(b, t, h, other - window)] != 0.0f) != kept(other, t);
          }
  }
  CHECK(wrong_forward == 0);
  CHECK(wrong_cpu == 0);
  CHECK(wrong_backward == 0);
}

TEST_CASE("attention dropout: forward and backward keep what the definition and the CPU backend keep") {
  for (const DType type : storage_types()) check_kept(type, shape(2, 100, 2), 0.3f);
}

TEST_CASE("attention: large scores leave finite, exact probabilities") {
  const AttentionShape s = shape(1, 70, 1);
  const AttentionCall call(DType::f32, s, 0.0f, 10.0f);
  const AttentionOut want = attention(call.qkv.wide(), {}, s);
  const Outputs got = call.run();
  check_close(got[0], want.out, 1e-3, largest(want.out));
  check_close(got[1], want.lse, kAttentionTolerance, largest(want.lse));
}

TEST_CASE("attention: a length that is none shows as rows that are not numbers, in its sample alone") {
  for (const DType type : storage_types())
    for (const int32_t length : {0, -1, 66}) {
      CAPTURE(dtype_name(type), length);
      AttentionCall call(type, {.b = 2, .t = 65, .h = 1, .d = 32, .causal = false}, 0.0f);
      call.shape.lengths = {length, 65};
      const Outputs got = call.run();
      for (const auto& [index, of] : {std::pair{0, type}, {1, DType::f32}, {2, type}}) {
        const Floats values = got.values(size_t(index), of);
        const auto is_nan = [](float x) { return std::isnan(x); };
        const auto second = values.begin() + int64_t(values.size()) / 2;
        CHECK(std::all_of(values.begin(), second, is_nan));
        CHECK(std::none_of(second, values.end(), is_nan));
      }
    }
}

TEST_CASE("attention: a head width that no kernel holds is refused, and which are held is said") {
  for (const int64_t d : {20, 136}) {
    try {
      AttentionCall(DType::f32, {.b = 1, .t = 8, .h = 2, .d = d}, 0.0f).run();
      FAIL("accepted");
    } catch (const Error& e) {
      CHECK(e.code() == ExitCode::config);
      CHECK_THAT(e.what(), Catch::Contains(fmt::format("{} wide", d)) &&
                               Catch::Contains("a multiple of 8, at most 128") &&
                               Catch::Contains(fmt::format("width is {}", 2 * d)));
    }
  }
}

}  // namespace
}  // namespace ddp::test
