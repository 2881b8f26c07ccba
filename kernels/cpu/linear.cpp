// Linear layers: products that run single-threaded (gemm.h) on slices that our own pool spreads over its threads.
//
// Why slices: oneDNN's own threading splits K of a weight gradient and so changes bits with the number of threads. Here
// forward and data gradient are cut by rows, whose bits do not depend on the cut (a test checks it) or else, without
// AVX-512, into slices that depend on the shape alone; the weight gradient is cut into such slices always, and where it
// has few rows so is its long sum over M, into parts that are added in order.
#include <algorithm>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/parts.h"
#include "kernels/cpu/run.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/storage.h"
#include "kernels/cpu/vec.h"
#include "kernels/cpu/wide_copies.h"
#include "kernels/ops/linear.h"
#include "runtime/device/cpu_device.h"

namespace ddp::cpu {
namespace {

// A slice is a whole number of units, so that no slice has few rows: oneDNN has other kernels for a single row, and for
// less than 16 where w is transposed.
constexpr int64_t kRowUnit = 16;
constexpr int64_t kMinFlops = 8'000'000;  // of a slice: below it handing out costs more than it gains

// Cuts `rows` into `slices` pieces of whole units and calls f(begin, count) for each; the last takes the remainder.
template <class F>
void for_row_slices(ThreadPool& pool, int64_t rows, int64_t slices, F f) {
  const int64_t units = std::max<int64_t>(rows / kRowUnit, 1);
  slices = std::clamp<int64_t>(slices, 1, units);
  pool.parallel_for(slices, [&](int64_t i) {
    const int64_t begin = units * i / slices * kRowUnit;
    const int64_t end = i + 1 == slices ? rows : units * (i + 1) / slices * kRowUnit;
    f(begin, end - begin);
  });
}

// One slice a thread, fewer when the work is small; where rows depend on their slice, by the shape alone.
int64_t forward_slices(const ThreadPool& pool, int64_t flops) {
  constexpr int64_t kFixed = 8;
  const int64_t most = gemm_rows_are_independent() ? pool.num_threads() : kFixed;
  return std::min(most, flops / kMinFlops + 1);
}

// By shape alone: about 192 rows of dw a slice, 16 slices at most (each packs the other operand again).
int64_t weight_slices(int64_t rows, int64_t flops) {
  int64_t slices = 1;
  while (slices < 16 && slices * 192 < rows && flops / (slices * 2) >= kMinFlops) slices *= 2;
  return slices;
}

// Likewise: of a sum over m rows, where there are too few slices for the threads of a machine. A part is long, so that
// adding the parts is cheap beside it.
int64_t sum_parts(int64_t m, int64_t slices, int64_t flops) {
  constexpr int64_t kFewSlices = 4, kMaxParts = 8, kRows = 2048;
  int64_t parts = 1;
  while (slices < kFewSlices && parts < kMaxParts && m >= parts * 2 * kRows && flops / (parts * 2) >= kMinFlops)
    parts *= 2;
  return parts;
}

// db (n) (=|+=) sums of the columns of dy (m, n), each in the order of its rows.
template <class S, class G>
void column_sums(ThreadPool& pool, G* db, const S* dy, int64_t m, int64_t n, bool accumulate) {
  constexpr int64_t kColumns = 64;
  pool.parallel_for(ceil_div(n, kColumns), [&](int64_t block) {
    const int64_t begin = block * kColumns, count = std::min(kColumns, n - begin);
    v16 sums[kColumns / kVecWidth] = {};
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < count; j += kVecWidth) sums[j / kVecWidth] += load(dy + i * n + begin + j, count - j);
    for (int64_t j = 0; j < count; j += kVecWidth) {
      G* to = db + begin + j;
      const v16 sum = sums[j / kVecWidth];
      store(to, accumulate ? load(to, count - j) + sum : sum, count - j);
    }
  });
}

// Less than a unit, computed as a whole one, so that a sample has the same bits however few are beside it.
template <class S>
void few_rows(const LinearForward& a) {
  const int64_t m = a.x.dim(0), k = a.x.dim(1), n = a.y.dim(1);
  S* x = reinterpret_cast<S*>(thread_scratch<Scratch::operands>(kRowUnit * (k + n)));
  S* y = x + kRowUnit * k;
  std::copy_n(a.x.as<S>(), m * k, x);
  std::fill_n(x + m * k, (kRowUnit - m) * k, S());
  gemm({.m = kRowUnit,
        .n = n,
        .k = k,
        .b_transposed = a.w_transposed,
        .lda = k,
        .ldb = a.w_transposed ? k : n,
        .ldc = n},
       x, a.w.as<S>(), a.bias ? a.bias.as<S>() : nullptr, y);
  std::copy_n(y, m * n, a.y.as<S>());
}

template <class S>
void run(ThreadPool& pool, const LinearForward& a) {
  const int64_t m = a.x.dim(0), k = a.x.dim(1), n = a.y.dim(1);
  if (m < kRowUnit) return few_rows<S>(a);
  const S *x = a.x.as<S>(), *w = a.w.as<S>(), *bias = a.bias ? a.bias.as<S>() : nullptr;
  S* y = a.y.as<S>();
  for_row_slices(pool, m, forward_slices(pool, 2 * m * k * n), [&](int64_t begin, int64_t rows) {
    gemm({.m = rows, .n = n, .k = k, .b_transposed = a.w_transposed, .lda = k, .ldb = a.w_transposed ? k : n, .ldc = n},
         x + begin * k, w, bias, y + begin * n);
  });
}

template <class S>
void run(ThreadPool& pool, const LinearBackwardInput& a) {
  const int64_t m = a.dx.dim(0), k = a.dx.dim(1), n = a.dy.dim(1);
  const S *dy = a.dy.as<S>(), *w = a.w.as<S>(), *no_bias = nullptr;
  S* dx = a.dx.as<S>();
  for_row_slices(pool, m, forward_slices(pool, 2 * m * k * n), [&](int64_t begin, int64_t rows) {
    gemm({.m = rows,
          .n = k,
          .k = n,
          .b_transposed = !a.w_transposed,
          .lda = n,
          .ldb = a.w_transposed ? k : n,
          .ldc = k,
          .accumulate = a.accumulate},
         dy + begin * n, w, no_bias, dx + begin * k);
  });
}

template <class S, class G>
void weight_gradient(ThreadPool& pool, const LinearBackwardWeight& a) {
  const int64_t m = a.x.dim(0), n = a.dy.dim(1);
  // dw = left^T right: x^T dy, or dy^T x where the weight is stored transposed.
  const TensorView &left = a.w_transposed ? a.dy : a.x, &right = a.w_transposed ? a.x : a.dy;
  const int64_t rows = left.dim(1), columns = right.dim(1);
  const S *left_data = left.as<S>(), *right_data = right.as<S>(), *no_bias = nullptr;
  G* dw = a.dw.as<G>();
  const int64_t flops = 2 * m * rows * columns, slices = weight_slices(rows, flops),
                num_parts = sum_parts(m, slices, flops);
  const GemmShape whole = {.m = rows,
                           .n = columns,
                           .k = m,
                           .a_transposed = true,
                           .lda = rows,
                           .ldb = columns,
                           .ldc = columns,
                           .accumulate = a.accumulate};
  if (num_parts == 1) {
    for_row_slices(pool, rows, slices, [&](int64_t begin, int64_t count) {
      GemmShape slice = whole;
      slice.m = count;
      gemm(slice, left_data + begin, right_data, no_bias, dw + begin * columns);
    });
  } else {
    float* parts = thread_scratch<Scratch::operands>(num_parts * rows * columns);
    pool.parallel_for(num_parts, [&](int64_t i) {
      const int64_t begin = m * i / num_parts;
      GemmShape part = whole;
      part.k = m * (i + 1) / num_parts - begin, part.accumulate = false;
      gemm(part, left_data + begin * rows, right_data + begin * columns, no_bias, parts + i * rows * columns);
    });
    add_parts(pool, dw, parts, num_parts, rows * columns, a.accumulate);
  }
  if (a.db) column_sums(pool, a.db.as<G>(), a.dy.as<S>(), m, n, a.accumulate);
}

template <class S>
void run(ThreadPool& pool, const LinearBackwardWeight& a) {
  with_grad<S>(a.dw.dtype, [&](auto g) { weight_gradient<S, decltype(g)>(pool, a); });
}

void run_wide(ThreadPool& pool, LinearForward a) {
  const TensorView y = a.y;
  WideCopies copies(pool, {a.x, a.w, a.bias, y});
  a.x = copies.widen(a.x), a.w = copies.widen(a.w), a.bias = copies.widen(a.bias), a.y = copies.room(y);
  run<float>(pool, a);
  copies.round(y, a.y);
}

void run_wide(ThreadPool& pool, LinearBackwardInput a) {
  const TensorView dx = a.dx;
  WideCopies copies(pool, {a.dy, a.w, dx});
  a.dy = copies.widen(a.dy), a.w = copies.widen(a.w), a.dx = a.accumulate ? copies.widen(dx) : copies.room(dx);
  run<float>(pool, a);
  copies.round(dx, a.dx);
}

void run_wide(ThreadPool& pool, LinearBackwardWeight a) {
  const TensorView dw = a.dw, db = a.db;
  WideCopies copies(pool, {a.x, a.dy, dw, db});
  a.x = copies.widen(a.x), a.dy = copies.widen(a.dy), a.dw = copies.room(dw), a.db = copies.room(db);
  run<float>(pool, a);
  copies.round(dw, a.dw);
  copies.round(db, a.db);
}

template <class Args>
void run_stored(ThreadPool& pool, DType type, const Args& a) {
  if (type == DType::f32) return run<float>(pool, a);
  if (type == DType::bf16 && gemm_takes_bf16()) return run<BFloat16>(pool, a);
  run_wide(pool, a);
}

}  // namespace

template <>
void run(Stream& stream, const LinearForward& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { run_stored(pool, a.x.dtype, a); });
}
template <>
void run(Stream& stream, const LinearBackwardInput& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { run_stored(pool, a.dy.dtype, a); });
}
template <>
void run(Stream& stream, const LinearBackwardWeight& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { run_stored(pool, a.x.dtype, a); });
}

}  // namespace ddp::cpu
