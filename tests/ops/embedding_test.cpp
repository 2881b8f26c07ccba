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
