#include <catch2/catch.hpp>
#include <cmath>

#include "tests/ops/attention_checks.h"

namespace ddp::test {
namespace {

// The first output of a forward in f32, and lse.
Outputs forward(const AttentionShape& s, const Floats& qkv, const Dropout& dropout = {}) {
  return in_every_setting([&](Run& run) {
    attention_forward(run.exec(), {.out = run.output({s.b, s.t, s.c()}),
                                   .lse = run.output({s.b, s.h, s.t}),
                                   .qkv = view(qkv, {s.b, s.t, 3 * s.c()}),
                                   .heads = s.h,
                                   .dropout = dropout});
  });
}

void check_f32(const AttentionShape& s, float scale, float p) { check_attention(DType::f32, s, p, scale); }

TEST_CASE("attention: forward and backward for every head width") {
  for (const int64_t d : {1, 7, 16, 33, 64, 80}) check_f32({.b = 2, .t = 33, .h = 2, .d = d}, 1.0f, 0.0f);
}

TEST_CASE("attention: forward and backward for every length") {
  for (const int64_t t : {1, 2, 7, 15, 16, 17, 31, 32, 48, 49, 64, 130})
    check_f32({.b = 1, .t = t, .h = 3, .d = 16}, 1.5f, 0.0f);
}

TEST_CASE("attention: a length of more than one task of queries") {
  check_f32({.b = 1, .t = 301, .h = 1, .d = 20}, 1.0f, 0.0f);
}

TEST_CASE("attention: dropout in forward and backward") {
  for (const int64_t t : {1, 17, 64, 130}) check_f32({.b = 2, .t = t, .h = 2, .d = 16}, 1.0f, 0.25f);
}

TEST_CASE("attention: scores of a thousand leave finite, exact probabilities") {
  const AttentionShape s{.b = 1, .t = 20, .h = 1, .d = 16};
  const Floats qkv = randoms(3, s.t * 3 * s.c(), 20.0f);
  const AttentionOut want = attention(widen(qkv), {}, s);
  const Outputs got = forward(s, qkv);
  check_close(got[0], want.out, 1e-3, largest(want.out));
  check_close(got[1], want.lse, kAttentionTolerance, largest(want.lse));
}

TEST_CASE("attention in 16 bits: within twice the error of a naive implementation, with and without dropout") {
  for (const DType type : storage_types()) {
    if (type == DType::f32) continue;
    for (const float p : {0.0f, 0.25f}) {
      for (const int64_t t : {1, 2, 7, 16, 17, 31, 33, 64, 100, 130, 301})
        check_attention(type, {.b = 1, .t = t, .h = 2, .d = 16}, p);
      for (const int64_t d : {1, 7, 16, 33, 64, 80}) check_attention(type, {.b = 2, .t = 33, .h = 2, .d = d}, p);
    }
  }
}

TEST_CASE("attention: a type that the op table does not have is refused") {
  OpTable table = meta_op_table();
  table.storage = {DType::f32};
  const std::unique_ptr<Device> device = make_meta_device();
  Stream stream(*device, StreamRole::compute);
  const Stored qkv(DType::f16, Floats(4 * 48)), out(DType::f16, Floats(4 * 16));
  const Floats lse(4);
  const AttentionForward forward{.out = out.view({1, 4, 16}), .lse = view(lse, {1, 1, 4}), .qkv = qkv.view({1, 4, 48})};
  CHECK_THROWS_AS(attention_forward({.table = &table, .stream = &stream}, forward), Bug);
  attention_forward({.table = &meta_op_table(), .stream = &stream}, forward);
}

TEST_CASE("attention dropout: kept probabilities are those of the scalar definition, at the expected rate") {
  // Equal scores and values that are unit vectors: out (q, k) is the probability (q, k), 1 / (q + 1) where kept.
  const AttentionShape s{.b = 2, .t = 80, .h = 2, .d = 80};
  Floats qkv(size_t(s.b * s.t * 3 * s.c()), 0.0f);
  for (int64_t row = 0; row < s.b * s.t; ++row)
    for (int64_t h = 0; h < s.h; ++h) qkv[size_t(row * 3 * s.c() + 2 * s.c() + h * s.d + row % s.t)] = 1.0f;
  const Dropout dropout = attention_dropout(0.2f);
  const Floats out = forward(s, qkv, dropout)[0];
  int64_t wrong = 0, kept = 0, all = 0;
  for (int64_t b = 0; b < s.b; ++b)
    for (int64_t h = 0; h < s.h; ++h)
      for (int64_t q = 0; q < s.t; ++q)
        for (int64_t k = 0; k <= q; ++k) {
          const bool is_kept = out[size_t((b * s.t + q) * s.c() + h * s.d + k)] != 0.0f;
          wrong += is_kept != (keep_probability(dropout, b, h, q, k) != 0.0f);
          kept += is_kept, ++all;
        }
  CHECK(wrong == 0);
  CHECK(double(kept) / double(all) == Approx(0.8).margin(5 * std::sqrt(0.16 / double(all))));
}

TEST_CASE("attention: a sample's bits do not depend on the samples around it, nor a position's on later ones") {
  const AttentionShape s{.b = 2, .t = 40, .h = 2, .d = 64}, one{.b = 1, .t = 40, .h = 2, .d = 64};
  const Floats qkv = randoms(4, s.b * s.t * 3 * s.c());
  const Floats both = forward(s, qkv)[0];
  const Floats second = forward(one, Floats(qkv.begin() + one.t * 3 * s.c(), qkv.end()))[0];
  CHECK(std::equal(second.begin(), second.end(), both.begin() + one.t * s.c()));
  const AttentionShape shorter{.b = 1, .t = 23, .h = 2, .d = 64};
  const Floats prefix = forward(shorter, Floats(qkv.begin(), qkv.begin() + shorter.t * 3 * s.c()))[0];
  CHECK(std::equal(prefix.begin(), prefix.end(), both.begin()));
}

}  // namespace
}  // namespace ddp::test
