// Token and position embedding. Backward scatters without atomics: a block owns columns and walks the positions in
// order. Legend: B samples, T positions, C width, V vocabulary.
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

template <class S>
void run(ThreadPool& pool, const EmbeddingForward& a) {
  const int64_t rows = a.tokens.numel(), t_max = a.tokens.dim(1), c = a.wte.dim(1), v = a.wte.dim(0);
  const int32_t* tokens = a.tokens.as<int32_t>();
  const S *wte = a.wte.as<S>(), *wpe = a.wpe.as<S>();
  S* out = a.out.as<S>();
  const DropoutMask mask(a.dropout);
  pool.parallel_for(ceil_div(rows, kRows), [&](int64_t block) {
    float* buffer = thread_scratch(DropoutMask::row_buffer(c));
    for (int64_t row = block * kRows; row < std::min(rows, (block + 1) * kRows); ++row) {
      const int64_t b = row / t_max, t = row % t_max;
      const S *token = wte + checked_token(tokens[row], v) * c, *position = wpe + t * c;
      const float* keep = mask.active() ? mask.row(b, t * c, c, buffer) : nullptr;
      for (int64_t i = 0; i < c; i += kVecWidth) {
        const v16 x = load(token + i, c - i) + load(position + i, c - i);
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
      : dout_(a.dout.as<S>()), t_max_(a.tokens.dim(1)), c_(a.dwte.dim(1)), begin_(begin), n_(n), mask_(mask) {}

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

template <class S, class G>
void run(ThreadPool& pool, const EmbeddingBackward& a) {
  const int64_t b_max = a.tokens.dim(0), t_max = a.tokens.dim(1), c = a.dwte.dim(1), v = a.dwte.dim(0);
  const int32_t* tokens = a.tokens.as<int32_t>();
  float* dwte = a.dwte.as<float>();
  G* dwpe = a.dwpe.as<G>();
  const DropoutMask mask(a.dropout);
  pool.parallel_for(ceil_div(c, kColumns), [&](int64_t block) {
    const int64_t begin = block * kColumns, n = std::min(kColumns, c - begin);
    const MaskedColumns<S> dout(a, mask, begin, n);
    for (int64_t b = 0; b < b_max; ++b)
      for (int64_t t = 0; t < t_max; ++t) {
        float* row = dwte + checked_token(tokens[b * t_max + t], v) * c + begin;
        dout.at(b, t, [=](int64_t i, v16 x, int64_t rest) { store(row + i, load(row + i, rest) + x, rest); });
      }
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
  });
}

}  // namespace

template <>
void run(Stream& stream, const EmbeddingForward& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { with_storage(a.wte.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

template <>
void run(Stream& stream, const EmbeddingBackward& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) {
    with_storage(a.dout.dtype, [&](auto s) {
      with_grad<decltype(s)>(a.dwpe.dtype, [&](auto g) { run<decltype(s), decltype(g)>(pool, a); });
    });
  });
}

}  // namespace ddp::cpu
