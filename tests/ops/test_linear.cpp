#include <catch2/catch.hpp>
#include <cmath>

#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

struct Size {
  int64_t m, k, n;
};
const Size kSizes[] = {{1, 1, 1}, {1, 33, 7}, {7, 1, 33}, {33, 7, 1}, {65, 130, 100}, {1000, 96, 64}, {40, 64, 1000}};

double tolerance(int64_t depth) {
  return 1.2e-7 * (2.0 + std::sqrt(double(depth)));
}  // f32 sums of `depth` terms up to 1

TEST_CASE("linear forward: both layouts, with and without bias") {
  for (const auto [m, k, n] : kSizes) {
    for (const bool transposed_w : {false, true}) {
      CAPTURE(m, k, n, transposed_w);
      const Floats x = randoms(1, m * k), w = randoms(2, k * n), bias = randoms(3, n);
      const Shape w_shape = transposed_w ? Shape{n, k} : Shape{k, n};
      const Outputs got = in_every_setting([&](Run& run) {
        for (const bool with_bias : {false, true})
          linear_forward(run.exec(), {.y = run.output({m, n}),
                                      .x = view(x, {m, k}),
                                      .w = view(w, w_shape),
                                      .bias = with_bias ? view(bias, {n}) : TensorView{},
                                      .w_transposed = transposed_w});
      });
      Vec want = matmul(widen(x), transposed_w ? transposed(widen(w), n, k) : widen(w), m, k, n);
      check_close(got[0], want, tolerance(k), std::sqrt(double(k)));
      for (size_t i = 0; i < want.size(); ++i) want[i] += bias[i % size_t(n)];
      check_close(got[1], want, tolerance(k), std::sqrt(double(k)));
    }
  }
}

TEST_CASE("linear backward input: both layouts") {
  for (const auto [m, k, n] : kSizes) {
    for (const bool transposed_w : {false, true}) {
      CAPTURE(m, k, n, transposed_w);
      const Floats dy = randoms(1, m * n), w = randoms(2, k * n);
      const Shape w_shape = transposed_w ? Shape{n, k} : Shape{k, n};
      const Outputs got = in_every_setting([&](Run& run) {
        linear_backward_input(
            run.exec(),
            {.dx = run.output({m, k}), .dy = view(dy, {m, n}), .w = view(w, w_shape), .w_transposed = transposed_w});
      });
      check_close(got[0], matmul(widen(dy), transposed_w ? widen(w) : transposed(widen(w), k, n), m, n, k),
                  tolerance(n), std::sqrt(double(n)));
    }
  }
}

TEST_CASE("linear backward weight: both layouts, written and accumulated, with and without bias") {
  for (const auto [m, k, n] : kSizes) {
    for (const bool transposed_w : {false, true}) {
      for (const bool accumulate : {false, true}) {
        CAPTURE(m, k, n, transposed_w, accumulate);
        const Floats x = randoms(1, m * k), dy = randoms(2, m * n), before = randoms(3, k * n),
                     before_b = randoms(4, n);
        const Shape w_shape = transposed_w ? Shape{n, k} : Shape{k, n};
        const Outputs got = in_every_setting([&](Run& run) {
          for (const bool with_bias : {true, false})
            linear_backward_weight(run.exec(),
                                   {.dw = run.output(accumulate ? before : poison(k * n), w_shape),
                                    .db = with_bias ? run.output(accumulate ? before_b : poison(n), {n}) : TensorView{},
                                    .x = view(x, {m, k}),
                                    .dy = view(dy, {m, n}),
                                    .w_transposed = transposed_w,
                                    .accumulate = accumulate});
        });
        Vec dw = matmul(transposed(widen(x), m, k), widen(dy), k, m, n), db(size_t(n), 0.0);
        if (transposed_w) dw = transposed(dw, k, n);
        for (size_t i = 0; i < dy.size(); ++i) db[i % size_t(n)] += dy[i];
        for (size_t i = 0; accumulate && i < dw.size(); ++i) dw[i] += before[i];
        for (size_t i = 0; accumulate && i < db.size(); ++i) db[i] += before_b[i];
        check_close(got[0], dw, tolerance(m), std::sqrt(double(m)));
        check_close(got[1], db, tolerance(m), std::sqrt(double(m)));
        CHECK(got[2] == got[0]);
      }
    }
  }
}

TEST_CASE("linear: large products give the same bits for every number of threads") {
  const int64_t m = 1024, k = 256, n = 384;
  const Floats x = randoms(1, m * k), w = randoms(2, k * n), dy = randoms(3, m * n);
  in_every_setting([&](Run& run) {
    linear_forward(run.exec(), {.y = run.output({m, n}), .x = view(x, {m, k}), .w = view(w, {k, n})});
    linear_backward_input(run.exec(), {.dx = run.output({m, k}), .dy = view(dy, {m, n}), .w = view(w, {k, n})});
    linear_backward_weight(
        run.exec(), {.dw = run.output({k, n}), .db = run.output({n}), .x = view(x, {m, k}), .dy = view(dy, {m, n})});
  });
}

TEST_CASE("linear: a row's bits do not depend on the rows around it") {
  const int64_t m = 300, k = 200, n = 150;
  const Floats x = randoms(1, m * k), w = randoms(2, k * n), dy = randoms(3, m * n);
  const auto both = [&](int64_t first, int64_t rows) {
    return in_every_setting([&](Run& run) {
      linear_forward(run.exec(),
                     {.y = run.output({rows, n}), .x = view(x, {m, k}).rows(first, rows), .w = view(w, {k, n})});
      linear_backward_input(
          run.exec(), {.dx = run.output({rows, k}), .dy = view(dy, {m, n}).rows(first, rows), .w = view(w, {k, n})});
    });
  };
  const Outputs whole = both(0, m);
  for (const int64_t first : {16, 100, 233}) {
    const Outputs part = both(first, m - first);
    for (const size_t output : {size_t(0), size_t(1)}) {
      const Floats all = whole[output], tail = part[output];
      CHECK(std::equal(tail.begin(), tail.end(), all.end() - ptrdiff_t(tail.size())));
    }
  }
}

}  // namespace
}  // namespace ddp::test
