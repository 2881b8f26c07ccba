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
  for (const DType type : storage_types()) {
    for (const auto [m, k, n] : kSizes) {
      for (const bool transposed_w : {false, true}) {
        CAPTURE(dtype_name(type), m, k, n, transposed_w);
        const Stored x(type, randoms(1, m * k)), w(type, randoms(2, k * n)), bias(type, randoms(3, n));
        const Shape w_shape = transposed_w ? Shape{n, k} : Shape{k, n};
        const Outputs got = in_every_setting([&](Run& run) {
          for (const bool with_bias : {false, true})
            linear_forward(run.exec(), {.y = run.output({m, n}, type),
                                        .x = x.view({m, k}),
                                        .w = w.view(w_shape),
                                        .bias = with_bias ? bias.view({n}) : TensorView{},
                                        .w_transposed = transposed_w});
        });
        Vec want = matmul(x.wide(), transposed_w ? transposed(w.wide(), n, k) : w.wide(), m, k, n);
        check_close(got.values(0, type), want, tolerance(k), std::sqrt(double(k)), type);
        const Vec b = bias.wide();
        for (size_t i = 0; i < want.size(); ++i) want[i] += b[i % size_t(n)];
        check_close(got.values(1, type), want, tolerance(k), std::sqrt(double(k)), type);
      }
    }
  }
}

TEST_CASE("linear backward input: both layouts") {
  for (const DType type : storage_types()) {
    for (const auto [m, k, n] : kSizes) {
      for (const bool transposed_w : {false, true}) {
        CAPTURE(dtype_name(type), m, k, n, transposed_w);
        const Stored dy(type, randoms(1, m * n)), w(type, randoms(2, k * n));
        const Shape w_shape = transposed_w ? Shape{n, k} : Shape{k, n};
        const Outputs got = in_every_setting([&](Run& run) {
          linear_backward_input(run.exec(), {.dx = run.output({m, k}, type),
                                             .dy = dy.view({m, n}),
                                             .w = w.view(w_shape),
                                             .w_transposed = transposed_w});
        });
        check_close(got.values(0, type),
                    matmul(dy.wide(), transposed_w ? w.wide() : transposed(w.wide(), k, n), m, n, k), tolerance(n),
                    std::sqrt(double(n)), type);
      }
    }
  }
}

TEST_CASE("linear backward input: added to what is there, both layouts") {
  for (const DType type : storage_types()) {
    for (const auto [m, k, n] : kSizes) {
      for (const bool transposed_w : {false, true}) {
        CAPTURE(dtype_name(type), m, k, n, transposed_w);
        const Stored dy(type, randoms(1, m * n)), w(type, randoms(2, k * n));
        const Vec product = matmul(dy.wide(), transposed_w ? w.wide() : transposed(w.wide(), k, n), m, n, k);
        // The product's negative as it is stored: what is left is the error of a product that were rounded by itself.
        const Floats near_product(product.begin(), product.end());
        for (const bool cancels : {false, true}) {
          Floats values = cancels ? near_product : randoms(3, m * k);
          for (float& x : values) x = -x;
          const Stored before(type, values);
          const Outputs got = in_every_setting([&](Run& run) {
            linear_backward_input(run.exec(), {.dx = run.output(before, {m, k}),
                                               .dy = dy.view({m, n}),
                                               .w = w.view(transposed_w ? Shape{n, k} : Shape{k, n}),
                                               .w_transposed = transposed_w,
                                               .accumulate = true});
          });
          Vec want = before.wide();
          for (size_t i = 0; i < want.size(); ++i) want[i] += product[i];
          check_close(got.values(0, type), want, tolerance(n), std::sqrt(double(n)), type);
        }
      }
    }
  }
}

void check_backward_weight(DType type, DType grad, Size size, bool transposed_w, bool accumulate) {
  const auto [m, k, n] = size;
  CAPTURE(dtype_name(type), dtype_name(grad), m, k, n, transposed_w, accumulate);
  const Stored x(type, randoms(1, m * k)), dy(type, randoms(2, m * n));
  const Stored before(grad, accumulate ? randoms(3, k * n) : poison(k * n)),
      before_b(grad, accumulate ? randoms(4, n) : poison(n));
  const Shape w_shape = transposed_w ? Shape{n, k} : Shape{k, n};
  const Outputs got = in_every_setting([&](Run& run) {
    for (const bool with_bias : {true, false})
      linear_backward_weight(run.exec(), {.dw = run.output(before, w_shape),
                                          .db = with_bias ? run.output(before_b, {n}) : TensorView{},
                                          .x = x.view({m, k}),
                                          .dy = dy.view({m, n}),
                                          .w_transposed = transposed_w,
                                          .accumulate = accumulate});
  });
  const Vec wide_dy = dy.wide();
  Vec dw = matmul(transposed(x.wide(), m, k), wide_dy, k, m, n), db(size_t(n), 0.0);
  if (transposed_w) dw = transposed(dw, k, n);
  for (size_t i = 0; i < wide_dy.size(); ++i) db[i % size_t(n)] += wide_dy[i];
  const Vec old = before.wide(), old_b = before_b.wide();
  for (size_t i = 0; accumulate && i < dw.size(); ++i) dw[i] += old[i];
  for (size_t i = 0; accumulate && i < db.size(); ++i) db[i] += old_b[i];
  check_close(got.values(0, grad), dw, tolerance(m), std::sqrt(double(m)), grad);
  check_close(got.values(1, grad), db, tolerance(m), std::sqrt(double(m)), grad);
  CHECK(got.values(2, grad) == got.values(0, grad));
}

TEST_CASE("linear backward weight: both layouts, written and accumulated, with and without bias") {
  for (const DType type : storage_types())
    for (const Size& size : kSizes)
      for (const bool transposed_w : {false, true})
        for (const bool accumulate : {false, true})
          for (const DType grad : grad_types(type, accumulate))
            check_backward_weight(type, grad, size, transposed_w, accumulate);
}

TEST_CASE("linear backward weight: a sum over many rows, which is made in parts") {
  for (const DType type : storage_types())
    for (const bool accumulate : {false, true})
      for (const DType grad : grad_types(type, accumulate))
        check_backward_weight(type, grad, {.m = 8195, .k = 47, .n = 64}, accumulate, accumulate);
}

TEST_CASE("linear: large products give the same bits for every number of threads") {
  for (const DType type : storage_types()) {
    CAPTURE(dtype_name(type));
    const int64_t m = 1024, k = 256, n = 384;
    const Stored x(type, randoms(1, m * k)), w(type, randoms(2, k * n)), dy(type, randoms(3, m * n)),
        bias(type, randoms(4, n));
    in_every_setting([&](Run& run) {
      linear_forward(run.exec(),
                     {.y = run.output({m, n}, type), .x = x.view({m, k}), .w = w.view({k, n}), .bias = bias.view({n})});
      linear_backward_input(run.exec(), {.dx = run.output({m, k}, type), .dy = dy.view({m, n}), .w = w.view({k, n})});
      linear_backward_weight(
          run.exec(), {.dw = run.output({k, n}), .db = run.output({n}), .x = x.view({m, k}), .dy = dy.view({m, n})});
    });
  }
}

TEST_CASE("linear: a row's bits do not depend on the rows around it") {
  if (!rows_are_independent()) return;
  for (const DType type : storage_types()) {
    CAPTURE(dtype_name(type));
    const int64_t m = 300, k = 200, n = 150;
    const Stored x(type, randoms(1, m * k)), w(type, randoms(2, k * n)), dy(type, randoms(3, m * n));
    const auto forward = [&](bool w_transposed, int64_t first, int64_t rows) {
      return in_every_setting([&](Run& run) {
               linear_forward(run.exec(), {.y = run.output({rows, n}, type),
                                           .x = x.view({m, k}).rows(first, rows),
                                           .w = w_transposed ? w.view({n, k}) : w.view({k, n}),
                                           .w_transposed = w_transposed});
             })
          .values(0, type);
    };
    for (const bool w_transposed : {false, true}) {
      const Floats all = forward(w_transposed, 0, m);
      for (const int64_t rows : {1, 2, 7, 15, 16, 17, 33}) {
        CAPTURE(w_transposed, rows);
        const Floats some = forward(w_transposed, 100, rows);
        CHECK(std::equal(some.begin(), some.end(), all.begin() + 100 * n));
      }
    }
    const auto both = [&](int64_t first, int64_t rows) {
      return in_every_setting([&](Run& run) {
        linear_forward(run.exec(),
                       {.y = run.output({rows, n}, type), .x = x.view({m, k}).rows(first, rows), .w = w.view({k, n})});
        linear_backward_input(
            run.exec(),
            {.dx = run.output({rows, k}, type), .dy = dy.view({m, n}).rows(first, rows), .w = w.view({k, n})});
      });
    };
    const Outputs whole = both(0, m);
    for (const int64_t first : {16, 100, 233}) {
      const Outputs part = both(first, m - first);
      for (const size_t output : {size_t(0), size_t(1)}) {
        const Floats all = whole.values(output, type), tail = part.values(output, type);
        CHECK(std::equal(tail.begin(), tail.end(), all.end() - ptrdiff_t(tail.size())));
      }
    }
  }
}

}  // namespace
}  // namespace ddp::test
