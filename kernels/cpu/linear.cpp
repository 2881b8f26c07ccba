// Linear layers by oneDNN's sgemm, single-threaded on slices that our own pool spreads over its threads.
//
// Why slices: oneDNN's own threading splits K of a weight gradient and so changes bits with the number of threads. Here
// K is never cut. Forward and data gradient are cut by rows, whose bits do not depend on the cut (a test checks it);
// the weight gradient is cut into slices that depend on the shape alone. Why sgemm and not the matmul primitive: on two
// Zen 5 cores (oneDNN 2.6, 2026-11-24) slices of the GPT-2 small shapes run at 480-510 GFLOP/s by sgemm and at 300-450
// by matmul.
#include <dnnl.h>

#include <algorithm>

#include "kernels/cpu/cpu_ops.h"
#include "runtime/device/cpu_device.h"

extern "C" void omp_set_num_threads(int);

namespace ddp::cpu {
namespace {

constexpr int64_t kRowUnit =
    16;  // a slice is a whole number of units, so that no slice is a single row (another kernel)
constexpr int64_t kMinFlops = 8'000'000;  // of a slice: below it handing out costs more than it gains

// C (m,n) = A (m,k) B (k,n) + beta C, row-major; "T" where an operand is stored transposed.
void sgemm(bool a_transposed, bool b_transposed, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda,
           const float* b, int64_t ldb, float beta, float* c, int64_t ldc) {
  // oneDNN takes its number of threads from this thread's OpenMP setting.
  thread_local const bool single_threaded = (omp_set_num_threads(1), true);
  DDP_CHECK(single_threaded, "unreachable");
  const dnnl_status_t status =
      dnnl_sgemm(a_transposed ? 'T' : 'N', b_transposed ? 'T' : 'N', m, n, k, 1.0f, a, lda, b, ldb, beta, c, ldc);
  DDP_CHECK(status == dnnl_success, "dnnl_sgemm of {} x {} x {} failed with {}", m, n, k, int(status));
}

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

void add_bias(float* y, const float* bias, int64_t rows, int64_t n) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < n; ++j) y[i * n + j] += bias[j];
}

// db (n) (=|+=) sums of the columns of dy (m, n), each in the order of its rows.
void column_sums(ThreadPool& pool, float* db, const float* dy, int64_t m, int64_t n, bool accumulate) {
  constexpr int64_t kColumns = 64;
  pool.parallel_for((n + kColumns - 1) / kColumns, [&](int64_t block) {
    const int64_t begin = block * kColumns, count = std::min(kColumns, n - begin);
    float sum[kColumns] = {};
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < count; ++j) sum[j] += dy[i * n + begin + j];
    for (int64_t j = 0; j < count; ++j) db[begin + j] = accumulate ? db[begin + j] + sum[j] : sum[j];
  });
}

void run(ThreadPool& pool, const LinearForward& a) {
  const int64_t m = a.x.dim(0), k = a.x.dim(1), n = a.y.dim(1);
  const float *x = a.x.as<float>(), *w = a.w.as<float>(), *bias = a.bias ? a.bias.as<float>() : nullptr;
  float* y = a.y.as<float>();
  for_row_slices(pool, m, forward_slices(pool, 2 * m * k * n), [&](int64_t begin, int64_t rows) {
    sgemm(false, a.w_transposed, rows, n, k, x + begin * k, k, w, a.w_transposed ? k : n, 0.0f, y + begin * n, n);
    if (bias != nullptr) add_bias(y + begin * n, bias, rows, n);
  });
}

void run(ThreadPool& pool, const LinearBackwardInput& a) {
  const int64_t m = a.dx.dim(0), k = a.dx.dim(1), n = a.dy.dim(1);
  const float *dy = a.dy.as<float>(), *w = a.w.as<float>();
  float* dx = a.dx.as<float>();
  for_row_slices(pool, m, forward_slices(pool, 2 * m * k * n), [&](int64_t begin, int64_t rows) {
    sgemm(false, !a.w_transposed, rows, k, n, dy + begin * n, n, w, a.w_transposed ? k : n, 0.0f, dx + begin * k, k);
  });
}

void run(ThreadPool& pool, const LinearBackwardWeight& a) {
  const int64_t m = a.x.dim(0), n = a.dy.dim(1);
  // dw = left^T right: x^T dy, or dy^T x where the weight is stored transposed.
  const TensorView &left = a.w_transposed ? a.dy : a.x, &right = a.w_transposed ? a.x : a.dy;
  const int64_t rows = left.dim(1), columns = right.dim(1);
  float* dw = a.dw.as<float>();
  for_row_slices(pool, rows, weight_slices(rows, 2 * m * rows * columns), [&](int64_t begin, int64_t count) {
    sgemm(true, false, count, columns, m, left.as<float>() + begin, rows, right.as<float>(), columns,
          a.accumulate ? 1.0f : 0.0f, dw + begin * columns, columns);
  });
  if (a.db) column_sums(pool, a.db.as<float>(), a.dy.as<float>(), m, n, a.accumulate);
}

}  // namespace

void linear_forward(Stream& stream, const LinearForward& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { run(pool, a); });
}
void linear_backward_input(Stream& stream, const LinearBackwardInput& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { run(pool, a); });
}
void linear_backward_weight(Stream& stream, const LinearBackwardWeight& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { run(pool, a); });
}

}  // namespace ddp::cpu
