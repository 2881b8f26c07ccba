// Linear layers: products that run single-threaded (gemm.h) on slices that our own pool spreads over its threads.
//
// Why slices: oneDNN's own threading splits K of a weight gradient and so changes bits with the number of threads. Here
// K is never cut. Forward and data gradient are cut by rows, whose bits do not depend on the cut (a test checks it);
// the weight gradient is cut into slices that depend on the shape alone.
#include <algorithm>

#include "kernels/cpu/convert.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/run.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/storage.h"
#include "kernels/cpu/vec.h"
#include "kernels/ops/linear.h"
#include "runtime/device/cpu_device.h"

namespace ddp::cpu {
namespace {

// A slice is a whole number of units, so that no slice is a single row (another kernel).
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

// One slice a thread, fewer when the work is small.
int64_t forward_slices(const ThreadPool& pool, int64_t flops) {
  return std::min<int64_t>(pool.num_threads(), flops / kMinFlops + 1);
}

// By shape alone: about 192 rows of dw a slice, 16 slices at most (each packs the other operand again).
int64_t weight_slices(int64_t rows, int64_t flops) {
  int64_t slices = 1;
  while (slices < 16 && slices * 192 < rows && flops / (slices * 2) >= kMinFlops) slices *= 2;
  return slices;
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

template <class S>
void run(ThreadPool& pool, const LinearForward& a) {
  const int64_t m = a.x.dim(0), k = a.x.dim(1), n = a.y.dim(1);
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
  for_row_slices(pool, rows, weight_slices(rows, 2 * m * rows * columns), [&](int64_t begin, int64_t count) {
    gemm({.m = count,
          .n = columns,
          .k = m,
          .a_transposed = true,
          .lda = rows,
          .ldb = columns,
          .ldc = columns,
          .accumulate = a.accumulate},
         left_data + begin, right_data, no_bias, dw + begin * columns);
  });
  if (a.db) column_sums(pool, a.db.as<G>(), a.dy.as<S>(), m, n, a.accumulate);
}

template <class S>
void run(ThreadPool& pool, const LinearBackwardWeight& a) {
  with_grad<S>(a.dw.dtype, [&](auto g) { weight_gradient<S, decltype(g)>(pool, a); });
}

// f32 copies of the arguments of one op, in the scratch memory of the calling thread: nothing may ask for that memory
// again while they live (products of f32 do not).
class WideCopies {
 public:
  WideCopies(ThreadPool& pool, std::initializer_list<TensorView> arguments) : pool_(pool) {
    int64_t count = 0;
    for (const TensorView& x : arguments) count += x ? x.numel() : 0;
    next_ = thread_scratch(count);
  }

  TensorView widen(const TensorView& x) {
    const TensorView copy = room(x);
    if (x) convert(pool_, copy, x);
    return copy;
  }
  // For an output; one that is f32 already is written in place.
  TensorView room(const TensorView& x) {
    if (!x || x.dtype == DType::f32) return x;
    float* begin = next_;
    next_ += x.numel();
    return {begin, DType::f32, x.shape};
  }
  void round(const TensorView& to, const TensorView& copy) {
    if (to.data != copy.data) convert(pool_, to, copy);
  }

 private:
  ThreadPool& pool_;
  float* next_;
};

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

// A type that the machine does not multiply is multiplied in f32, on copies: the reference of a GPU's numerics, not
// fast, and its operands lie in memory twice.
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
