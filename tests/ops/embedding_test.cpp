#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>

#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

const uint32_t kStep = 2;
const std::vector<int32_t> kSampleIds = {8, 5, 6};

struct Case {
  int64_t b, t, c, v, positions;  // positions: rows of wpe, >= T
  float p;
};
const Case kCases[] = {{1, 1, 1, 1, 1, 0.0f},
                       {2, 7, 33, 5, 9, 0.0f},
                       {3, 33, 130, 20, 33, 0.0f},
                       {2, 7, 33, 5, 9, 0.4f},
                       {3, 33, 130, 20, 40, 0.1f}};

Dropout dropout_of(const Case& x) {
  return {.p = x.p,
          .seed = 1,
          .site = 3,
          .step = lend_to_device(&kStep),
          .sample_ids = lend_to_device(kSampleIds.data(), int64_t(kSampleIds.size())),
          .num_samples = x.b};
}

std::vector<int32_t> random_tokens(const Case& x) {
  std::vector<int32_t> out;
  for (float r : randoms(3, x.b * x.t)) out.push_back(int32_t((r * 0.5f + 0.5f) * float(x.v)));
  return out;
}

std::vector<int32_t> sorted_by_token(const std::vector<int32_t>& tokens) {
  std::vector<int32_t> order(tokens.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return tokens[size_t(a)] < tokens[size_t(b)]; });
  return order;
}

Vec mask_of(const Case& x) {
  return x.p > 0.0f ? row_mask(dropout_of(x), x.b, x.t * x.c) : Vec(size_t(x.b * x.t * x.c), 1.0);
}

void check_forward(DType type, const Case& x) {
  CAPTURE(dtype_name(type), x.b, x.t, x.c, x.p);
  const std::vector<int32_t> tokens = random_tokens(x);
  const Stored wte(type, randoms(1, x.v * x.c)), wpe(type, randoms(2, x.positions * x.c));
  const Outputs got = in_every_setting([&](Run& run) {
    embedding_forward(run.exec(), {.out = run.output({x.b, x.t, x.c}, type),
                                   .tokens = view(tokens, {x.b, x.t}),
                                   .wte = wte.view({x.v, x.c}),
                                   .wpe = wpe.view({x.positions, x.c}),
                                   .dropout = dropout_of(x)});
  });
  const Vec mask = mask_of(x), wide_wte = wte.wide(), wide_wpe = wpe.wide();
  Vec want;
  for (int64_t row = 0; row < x.b * x.t; ++row)
    for (int64_t i = 0; i < x.c; ++i)
      want.push_back((wide_wte[size_t(tokens[size_t(row)] * x.c + i)] + wide_wpe[size_t(row % x.t * x.c + i)]) *
                     mask[size_t(row * x.c + i)]);
  check_close(got.values(0, type), want, 2e-7, 1.0, type);
}

TEST_CASE("embedding forward: token plus position, under dropout") {
  for (const DType type : storage_types())
    for (const Case& x : kCases) check_forward(type, x);
}

void check_backward(DType type, DType grad, const Case& x, bool accumulate) {
  CAPTURE(dtype_name(type), dtype_name(grad), x.b, x.t, x.c, x.p, accumulate);
  const std::vector<int32_t> tokens = random_tokens(x);
  const std::vector<int32_t> order = sorted_by_token(tokens);
  const Floats before_wte = randoms(4, x.v * x.c);
  const Stored dout(type, randoms(1, x.b * x.t * x.c)),
      before_wpe(grad, accumulate ? randoms(5, x.positions * x.c) : poison(x.positions * x.c));
  const Outputs got = in_every_setting([&](Run& run) {
    embedding_backward(run.exec(), {.dwte = run.output(before_wte, {x.v, x.c}),
                                    .dwpe = run.output(before_wpe, {x.positions, x.c}),
                                    .dout = dout.view({x.b, x.t, x.c}),
                                    .tokens = view(tokens, {x.b, x.t}),
                                    .order = view(order, {x.b * x.t}),
                                    .accumulate = accumulate,
                                    .dropout = dropout_of(x)});
  });
  const Vec mask = mask_of(x), wide_dout = dout.wide();
  Vec dwte = widen(before_wte), dwpe = accumulate ? before_wpe.wide() : Vec(size_t(x.positions * x.c), 0.0);
  for (int64_t row = 0; row < x.b * x.t; ++row)
    for (int64_t i = 0; i < x.c; ++i) {
      const double d = wide_dout[size_t(row * x.c + i)] * mask[size_t(row * x.c + i)];
      dwte[size_t(tokens[size_t(row)] * x.c + i)] += d;
      dwpe[size_t(row % x.t * x.c + i)] += d;
    }
  check_close(got[0], dwte, 1e-6, 4.0);
  check_close(got.values(1, grad), dwpe, 1e-6, 4.0, grad);
}

TEST_CASE("embedding backward: scatter to tokens, sum over samples to positions") {
  for (const DType type : storage_types())
    for (const Case& x : kCases)
      for (const bool accumulate : {false, true})
        for (const DType grad : grad_types(type, accumulate)) check_backward(type, grad, x, accumulate);
}

constexpr int64_t kTypes = 3;

std::vector<int32_t> random_types(const Case& x) {
  std::vector<int32_t> out;
  for (float r : randoms(6, x.b * x.t)) out.push_back(int32_t((r * 0.5f + 0.5f) * float(kTypes)));
  return out;
}

// Which of the four terms are given, a bit each: tokens, positions, types, dense.
bool has(int given, int term) { return (given >> term & 1) != 0; }

TEST_CASE("embedding forward: the sum of what is given") {
  for (const DType type : storage_types())
    for (const Case& x : {kCases[0], kCases[1], kCases[3]})
      for (int given = 1; given < 16; ++given) {
        CAPTURE(dtype_name(type), x.b, x.t, x.c, x.p, given);
        const int64_t rows = x.b * x.t;
        const std::vector<int32_t> tokens = random_tokens(x), types = random_types(x);
        const Stored wte(type, randoms(1, x.v * x.c)), wpe(type, randoms(2, x.positions * x.c)),
            wtype(type, randoms(7, kTypes * x.c)), dense(type, randoms(8, rows * x.c));
        const Outputs got = in_every_setting([&](Run& run) {
          EmbeddingForward a{.out = run.output({x.b, x.t, x.c}, type), .dropout = dropout_of(x)};
          if (has(given, 0)) a.tokens = view(tokens, {x.b, x.t}), a.wte = wte.view({x.v, x.c});
          if (has(given, 1)) a.wpe = wpe.view({x.positions, x.c});
          if (has(given, 2)) a.types = view(types, {x.b, x.t}), a.wtype = wtype.view({kTypes, x.c});
          if (has(given, 3)) a.dense = dense.view({x.b, x.t, x.c});
          embedding_forward(run.exec(), a);
        });
        const Vec mask = mask_of(x), tables[] = {wte.wide(), wpe.wide(), wtype.wide(), dense.wide()};
        Vec want(size_t(rows * x.c), 0.0);
        for (size_t i = 0; i < want.size(); ++i) {
          const int64_t row = int64_t(i) / x.c;
          const int64_t from[] = {tokens[size_t(row)], row % x.t, types[size_t(row)], row};
          for (int term = 0; term < 4; ++term)
            if (has(given, term)) want[i] += tables[term][size_t(from[term] * x.c + int64_t(i) % x.c)];
          want[i] *= mask[i];
        }
        check_close(got.values(0, type), want, 2e-7, 2.0, type);
      }
}

TEST_CASE("embedding backward: the gradients of what is given") {
  for (const DType type : storage_types())
    for (const Case& x : {kCases[0], kCases[1], kCases[3], kCases[4]})
      for (const int given : {1, 2, 4, 8, 12, 15}) {
        CAPTURE(dtype_name(type), x.b, x.t, x.c, x.p, given);
        const int64_t rows = x.b * x.t;
        const std::vector<int32_t> tokens = random_tokens(x), order = sorted_by_token(tokens), types = random_types(x);
        const Stored dout(type, randoms(1, rows * x.c));
        const Floats before_wte = randoms(4, x.v * x.c), before_wtype = randoms(9, kTypes * x.c);
        const Outputs got = in_every_setting([&](Run& run) {
          EmbeddingBackward a{.dout = dout.view({x.b, x.t, x.c}), .dropout = dropout_of(x)};
          const TensorView dwte = run.output(before_wte, {x.v, x.c}), dwpe = run.output({x.positions, x.c}),
                           dwtype = run.output(before_wtype, {kTypes, x.c}), ddense = run.output({x.b, x.t, x.c}, type);
          if (has(given, 0)) a.dwte = dwte, a.tokens = view(tokens, {x.b, x.t}), a.order = view(order, {rows});
          if (has(given, 1)) a.dwpe = dwpe;
          if (has(given, 2)) a.dwtype = dwtype, a.types = view(types, {x.b, x.t});
          if (has(given, 3)) a.ddense = ddense;
          embedding_backward(run.exec(), a);
        });
        const Vec mask = mask_of(x), wide_dout = dout.wide();
        Vec dwte = widen(before_wte), dwtype = widen(before_wtype), dwpe(size_t(x.positions * x.c), 0.0), ddense;
        for (int64_t i = 0; i < rows * x.c; ++i) {
          const int64_t row = i / x.c, column = i % x.c;
          const double d = wide_dout[size_t(i)] * mask[size_t(i)];
          dwte[size_t(tokens[size_t(row)] * x.c + column)] += d;
          dwtype[size_t(types[size_t(row)] * x.c + column)] += d;
          dwpe[size_t(row % x.t * x.c + column)] += d;
          ddense.push_back(d);
        }
        if (has(given, 0)) check_close(got[0], dwte, 1e-6, 4.0);
        if (has(given, 1)) check_close(got[1], dwpe, 1e-6, 4.0);
        if (has(given, 2)) check_close(got[2], dwtype, 1e-6, 8.0);
        if (has(given, 3)) check_close(got.values(3, type), ddense, 1e-7, 1e-12, type);
        if (!has(given, 0)) CHECK(got[0] == before_wte);
        if (!has(given, 2)) CHECK(got[2] == before_wtype);
      }
}

TEST_CASE("embedding: of nothing, or of a table without its indices, is refused") {
  const Floats table(2 * 3, 0.0f);
  Run run;
  const TensorView out = run.output({1, 2, 3});
  CHECK_THROWS_WITH(embedding_forward(run.exec(), {.out = out}), Catch::Matchers::Contains("nothing is given"));
  CHECK_THROWS_WITH(embedding_forward(run.exec(), {.out = out, .wtype = view(table, {2, 3})}),
                    Catch::Matchers::Contains("come together"));
}

TEST_CASE("embedding: a token outside the vocabulary is an error, not a stray access", "[host-error]") {
  const std::vector<int32_t> tokens = {0, 5};
  const Floats wte(5 * 3, 0.0f), wpe(2 * 3, 0.0f);
  Run run;
  embedding_forward(run.exec(), {.out = run.output({1, 2, 3}),
                                 .tokens = view(tokens, {1, 2}),
                                 .wte = view(wte, {5, 3}),
                                 .wpe = view(wpe, {2, 3})});
  CHECK_THROWS_WITH(run.finish(), Catch::Matchers::Contains("token 5 of a vocabulary of 5"));
}

}  // namespace
}  // namespace ddp::test
