// Attention that is not causal, samples of different lengths, and every head width that all backends have. The names do
// not begin with "attention", so that the tests of ops on CUDA run them too.
#include <catch2/catch.hpp>
#include <cmath>

#include "tests/ops/attention_checks.h"

namespace ddp::test {
namespace {

constexpr int64_t kWidths[] = {8, 32, 64, 80, 128};

void for_every_type(const AttentionShape& s, float p) {
  for (const DType type : storage_types()) check_attention(type, s, p);
}

TEST_CASE("masked attention: every query sees every key") {
  for (const int64_t t : {1, 7, 33, 64, 65, 100})
    for_every_type({.b = 1, .t = t, .h = 1, .d = 8, .causal = false}, 0.0f);
}

TEST_CASE("masked attention: every head width, causal and not") {
  for (const int64_t d : kWidths)
    for (const bool causal : {true, false}) for_every_type({.b = 1, .t = 33, .h = 2, .d = d, .causal = causal}, 0.0f);
}

TEST_CASE("masked attention: lengths of one position, of all and between, in every head width") {
  for (const int64_t d : kWidths)
    for (const bool causal : {true, false})
      for_every_type({.b = 3, .t = 33, .h = 1, .d = d, .causal = causal, .lengths = {1, 33, 18}}, 0.0f);
}

TEST_CASE("masked attention: lengths that end within, at and before a block of positions") {
  for (const bool causal : {true, false}) {
    for_every_type({.b = 2, .t = 100, .h = 1, .d = 32, .causal = causal, .lengths = {64, 65}}, 0.0f);
    for_every_type({.b = 2, .t = 65, .h = 1, .d = 128, .causal = causal, .lengths = {31, 16}}, 0.0f);
    for_every_type({.b = 1, .t = 7, .h = 2, .d = 64, .causal = causal, .lengths = {1}}, 0.0f);
    for_every_type({.b = 1, .t = 1, .h = 1, .d = 64, .causal = causal, .lengths = {1}}, 0.0f);
  }
}

TEST_CASE("masked attention: lengths beside more than one task of queries") {
  for_every_type({.b = 2, .t = 290, .h = 1, .d = 8, .causal = false, .lengths = {20, 270}}, 0.0f);
}

TEST_CASE("masked attention: dropout with and without lengths, causal and not") {
  for (const bool causal : {true, false}) {
    for_every_type({.b = 2, .t = 40, .h = 2, .d = 64, .causal = causal, .lengths = {40, 19}}, 0.25f);
    for_every_type({.b = 2, .t = 40, .h = 1, .d = 80, .causal = causal, .lengths = {7, 33}}, 0.25f);
    for_every_type({.b = 1, .t = 66, .h = 1, .d = 32, .causal = causal}, 0.25f);
  }
}

// What pads a tile of keys has the score 0, e^141 times what the keys have.
TEST_CASE("masked attention: scores far below that of the padding leave exact gradients") {
  for (const DType type : storage_types())
    for (const bool causal : {true, false}) {
      AttentionCall call(type, {.b = 1, .t = 40, .h = 1, .d = 32, .causal = causal, .lengths = {19}}, 0.0f, 0.25f);
      Floats qkv = call.qkv.values();
      for (size_t i = 0; i < qkv.size(); ++i)
        if (i / 32 % 3 < 2) qkv[i] += i / 32 % 3 == 0 ? 5.0f : -5.0f;
      call.qkv = Stored(type, qkv);
      const AttentionOut want = attention(call.qkv.wide(), {}, call.shape);
      const Vec grad = attention_grad(call.dout.wide(), call.qkv.wide(), {}, call.shape);
      const Outputs got = call.run();
      CAPTURE(dtype_name(type), causal);
      // f32 knows such a score within 1e-5.
      check_close(got.values(0, type), want.out, 1e-4 + 4 * rounding(type), largest(want.out));
      check_close(got.values(2, type), grad, 1e-4 + 16 * rounding(type), largest(grad));
    }
}

TEST_CASE("masked attention: a sample's bits are those of a batch that is no longer than the sample") {
  for (const DType type : storage_types())
    for (const bool causal : {true, false}) {
      CAPTURE(dtype_name(type), causal);
      const AttentionShape one{.b = 1, .t = 33, .h = 2, .d = 32, .causal = causal};
      const AttentionCall alone(type, one, 0.25f);
      AttentionCall padded(type, {.b = 1, .t = 70, .h = 2, .d = 32, .causal = causal, .lengths = {33}}, 0.25f);
      const auto lengthened = [&](const Stored& from, int64_t columns) {
        Floats values = from.values();
        values.resize(size_t(70 * columns), std::numeric_limits<float>::quiet_NaN());
        return Stored(type, values);
      };
      padded.qkv = lengthened(alone.qkv, 3 * one.c()), padded.dout = lengthened(alone.dout, one.c());
      const Outputs want = alone.run(), got = padded.run();
      for (const size_t i : {0, 2}) {
        const Floats whole = want.values(i, type), first = got.values(i, type);
        CHECK(std::equal(whole.begin(), whole.end(), first.begin()));
      }
    }
}

TEST_CASE("masked attention: a length that is none is an error, not a stray access", "[host-error]") {
  for (const int32_t length : {0, -3, 9}) {
    const AttentionShape s{.b = 2, .t = 8, .h = 1, .d = 8};
    const std::vector<int32_t> lengths = {8, length};
    const Floats qkv(size_t(s.b * s.t * 3 * s.c()), 0.0f);
    Run run;
    attention_forward(run.exec(), {.out = run.output({s.b, s.t, s.c()}),
                                   .lse = run.output({s.b, s.h, s.t}),
                                   .qkv = view(qkv, {s.b, s.t, 3 * s.c()}),
                                   .lengths = view(lengths, {s.b})});
    CHECK_THROWS_WITH(run.finish(), Catch::Contains(fmt::format("a length of {} of 8 positions", length)));
  }
}

TEST_CASE("masked attention: the cost counts the whole square where it is not causal, and lengths as the longest") {
  struct Costs : OpObserver {
    void before(const OpInfo& op, Stream&) override { flops.push_back(op.flops); }
    void after(const OpInfo&, Stream&) override {}
    std::vector<int64_t> flops;
  } costs;
  const Floats qkv(8 * 3 * 16, 0.0f);
  const std::vector<int32_t> lengths = {3};
  Run run;
  const Exec exec{.table = run.exec().table, .stream = run.exec().stream, .observer = &costs};
  for (const bool causal : {true, false})
    attention_forward(exec, {.out = run.output({1, 8, 16}),
                             .lse = run.output({1, 1, 8}),
                             .qkv = view(qkv, {1, 8, 48}),
                             .lengths = view(lengths, {1}),
                             .causal = causal});
  run.finish();
  CHECK(costs.flops == std::vector<int64_t>{2 * 2 * 16 * 36, 2 * 2 * 16 * 64});
}

}  // namespace
}  // namespace ddp::test
