// Embedding as a sum of rows of tables. Backward scatters without atomics: a block owns columns and walks the positions
// in order. Legend: B samples, T positions, C width, V rows of a table.
#include <algorithm>

#include "kernels/cpu/dropout.h"
#include "kernels/cpu/run.h"
#include "kernels/cpu/storage.h"
#include "kernels/ops/embedding.h"
#include "runtime/device/cpu_device.h"

namespace ddp::cpu {
namespace {

constexpr int64_t kRows = 16;     // positions of a block, forward
constexpr int64_t kColumns = 64;  // columns of a block, backward

// A corrupt token must not become a write anywhere in memory.
int64_t checked_token(int32_t token, int64_t vocabulary) {
  DDP_CHECK(token >= 0 && token < vocabulary, "token {} of a vocabulary of {}", token, vocabulary);
  return token;
}

// The rows that are added up at one position, in their order.
template <class S>
class Terms {
 public:
  void add(const S* row) { rows_[count_++] = row; }
  DDP_INLINE v16 sum(int64_t i, int64_t rest) const {
    v16 x = load(rows_[0] + i, rest);
    for (int k = 1; k < count_; ++k) x += load(rows_[k] + i, rest);
    return x;
  }

 private:
  const S* rows_[4] = {};
  int count_ = 0;
};

// Row `ids[row]` of a table (V,C).
template <class S>
const S* looked_up(const TensorView& table, const TensorView& ids, int64_t row) {
  return table.as<S>() + checked_token(ids.as<int32_t>()[row], table.dim(0)) * table.dim(1);
}

template <class S>
void run(ThreadPool& pool, const EmbeddingForward& a) {
  const int64_t t_max = a.out.dim(1), c = a.out.dim(2), rows = a.out.dim(0) * t_max;
  S* out = a.out.as<S>();
  const DropoutMask mask(a.dropout);
  pool.parallel_for(ceil_div(rows, kRows), [&](int64_t block) {
    float* buffer = thread_scratch(DropoutMask::row_buffer(c));
    for (int64_t row = block * kRows; row < std::min(rows, (block + 1) * kRows); ++row) {
      const int64_t b = row / t_max, t = row % t_max;
      Terms<S> terms;
      if (a.wte) terms.add(looked_up<S>(a.wte, a.tokens, row));
      if (a.wpe) terms.add(a.wpe.as<S>() + t * c);
      if (a.wtype) terms.add(looked_up<S>(a.wtype, a.types, row));
      if (a.dense) terms.add(a.dense.as<S>() + row * c);
      const float* keep = mask.active() ? mask.row(b, t * c, c, buffer) : nullptr;
      for (int64_t i = 0; i < c; i += kVecWidth) {
        const v16 x = terms.sum(i, c - i);
        store(out + row * c + i, keep != nullptr ? x * load(keep + i, c - i) : x, c - i);
      }
    }
  });
}

// A block's columns of dropout(dout), 16 at a time.
template <class S>
class MaskedColumns {
 public:
  MaskedColumns(const EmbeddingBackward& a, const DropoutMask& mask, int64_t begin, int64_t n)
      : dout_(a.dout.as<S>()), t_max_(a.dout.dim(1)), c_(a.dout.dim(2)), begin_(begin), n_(n), mask_(mask) {}

  // f(i, x, rest) for the columns begin + i ... of position (b, t); `rest` of them are left.
  template <class F>
  DDP_INLINE void at(int64_t b, int64_t t, F f) const {
    const float* keep = nullptr;
    if (mask_.active()) keep = mask_.row(b, t * c_ + begin_, n_, thread_scratch(DropoutMask::row_buffer(kColumns)));
    const S* row = dout_ + (b * t_max_ + t) * c_ + begin_;
    for (int64_t i = 0; i < n_; i += kVecWidth) {
      const v16 x = load(row + i, n_ - i);
      f(i, keep != nullptr ? x * load(keep + i, n_ - i) : x, n_ - i);
    }
  }

 private:
  const S* dout_;
  int64_t t_max_, c_, begin_, n_;
  const DropoutMask& mask_;
};

// dw (V,C) f32 += the rows that were looked up by `ids`; columns from `begin` on.
template <class S>
void scatter(const TensorView& dw, const TensorView& ids, const MaskedColumns<S>& dout, int64_t begin) {
  const int64_t b_max = ids.dim(0), t_max = ids.dim(1), c = dw.dim(1), v = dw.dim(0);
  const int32_t* id = ids.as<int32_t>();
  for (int64_t b = 0; b < b_max; ++b)
    for (int64_t t = 0; t < t_max; ++t) {
      float* row = dw.as<float>() + checked_token(id[b * t_max + t], v) * c + begin;
      dout.at(b, t, [=](int64_t i, v16 x, int64_t rest) { store(row + i, load(row + i, rest) + x, rest); });
    }
}

// dwpe (>= T, C) (=|+=) the sums over samples; n columns from `begin` on.
template <class S, class G>
void sum_positions(const EmbeddingBackward& a, const MaskedColumns<S>& dout, int64_t begin, int64_t n) {
  const int64_t b_max = a.dout.dim(0), t_max = a.dout.dim(1), c = a.dout.dim(2);
  G* dwpe = a.dwpe.as<G>();
  for (int64_t t = 0; t < t_max; ++t) {
    G* row = dwpe + t * c + begin;
    v16 total[kColumns / kVecWidth] = {};
    for (int64_t b = 0; b < b_max; ++b)
      dout.at(b, t, [&](int64_t i, v16 x, int64_t rest) {
        v16& sum = total[i / kVecWidth];
        if (b > 0) {
          sum += x;
        } else {
          sum = a.accumulate ? load(row + i, rest) + x : x;
        }
      });
    for (int64_t i = 0; i < n; i += kVecWidth) store(row + i, total[i / kVecWidth], n - i);
  }
  if (a.accumulate) return;
  for (int64_t t = t_max; t < a.dwpe.dim(0); ++t) std::fill_n(dwpe + t * c + begin, n, G{});
}

template <class S>
void run(ThreadPool& pool, const EmbeddingBackward& a) {
  const int64_t b_max = a.dout.dim(0), t_max = a.dout.dim(1), c = a.dout.dim(2);
  const DropoutMask mask(a.dropout);
  pool.parallel_for(ceil_div(c, kColumns), [&](int64_t block) {
    const int64_t begin = block * kColumns, n = std::min(kColumns, c - begin);
    const MaskedColumns<S> dout(a, mask, begin, n);
    if (a.dwte) scatter(a.dwte, a.tokens, dout, begin);
    if (a.dwtype) scatter(a.dwtype, a.types, dout, begin);
    if (a.dwpe) with_grad<S>(a.dwpe.dtype, [&](auto g) { sum_positions<S, decltype(g)>(a, dout, begin, n); });
    if (!a.ddense) return;
    for (int64_t b = 0; b < b_max; ++b)
      for (int64_t t = 0; t < t_max; ++t) {
        S* row = a.ddense.as<S>() + (b * t_max + t) * c + begin;
        dout.at(b, t, [=](int64_t i, v16 x, int64_t rest) { store(row + i, x, rest); });
      }
  });
}

}  // namespace

template <>
void run(Stream& stream, const EmbeddingForward& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { with_storage(a.out.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

template <>
void run(Stream& stream, const EmbeddingBackward& a) {
  cpu_enqueue(stream,
              [a](ThreadPool& pool) { with_storage(a.dout.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

}  // namespace ddp::cpu
