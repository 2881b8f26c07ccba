// Token and position embedding. Backward scatters without atomics: a block owns columns and walks the positions in
// order. Legend: B samples, T positions, C width, V vocabulary.
#include <algorithm>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/dropout.h"
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

void run(ThreadPool& pool, const EmbeddingForward& a) {
  const int64_t rows = a.tokens.numel(), t_max = a.tokens.dim(1), c = a.wte.dim(1), v = a.wte.dim(0);
  const int32_t* tokens = a.tokens.as<int32_t>();
  const float *wte = a.wte.as<float>(), *wpe = a.wpe.as<float>();
  float* out = a.out.as<float>();
  const DropoutMask mask(a.dropout);
  pool.parallel_for(ceil_div(rows, kRows), [&](int64_t block) {
    float* buffer = thread_scratch(DropoutMask::row_buffer(c));
    for (int64_t row = block * kRows; row < std::min(rows, (block + 1) * kRows); ++row) {
      const int64_t b = row / t_max, t = row % t_max;
      const float *token = wte + checked_token(tokens[row], v) * c, *position = wpe + t * c;
      const float* keep = mask.active() ? mask.row(b, t * c, c, buffer) : nullptr;
      for (int64_t i = 0; i < c; i += kLanes) {
        const v16 x = load(token + i, c - i) + load(position + i, c - i);
        store(out + row * c + i, keep != nullptr ? x * load(keep + i, c - i) : x, c - i);
      }
    }
  });
}

// to (=|+=) from * keep over n columns; keep may be null.
void add_columns(float* to, const float* from, const float* keep, int64_t n, bool accumulate) {
  for (int64_t i = 0; i < n; i += kLanes) {
    v16 x = load(from + i, n - i);
    if (keep != nullptr) x *= load(keep + i, n - i);
    store(to + i, accumulate ? load(to + i, n - i) + x : x, n - i);
  }
}

void run(ThreadPool& pool, const EmbeddingBackward& a) {
  const int64_t b_max = a.tokens.dim(0), t_max = a.tokens.dim(1), c = a.dwte.dim(1), v = a.dwte.dim(0);
  const int32_t* tokens = a.tokens.as<int32_t>();
  const float* dout = a.dout.as<float>();
  float *dwte = a.dwte.as<float>(), *dwpe = a.dwpe.as<float>();
  const DropoutMask mask(a.dropout);
  pool.parallel_for(ceil_div(c, kColumns), [&](int64_t block) {
    const int64_t begin = block * kColumns, n = std::min(kColumns, c - begin);
    float* buffer = thread_scratch(DropoutMask::row_buffer(kColumns));
    for (int64_t b = 0; b < b_max; ++b) {
      for (int64_t t = 0; t < t_max; ++t) {
        const int64_t row = b * t_max + t;
        const float* keep = mask.active() ? mask.row(b, t * c + begin, n, buffer) : nullptr;
        add_columns(dwte + checked_token(tokens[row], v) * c + begin, dout + row * c + begin, keep, n, true);
        add_columns(dwpe + t * c + begin, dout + row * c + begin, keep, n, a.accumulate || b > 0);
      }
    }
    if (a.accumulate) return;
    for (int64_t t = t_max; t < a.dwpe.dim(0); ++t) std::fill_n(dwpe + t * c + begin, n, 0.0f);
  });
}

}  // namespace

void embedding_forward(Stream& stream, const EmbeddingForward& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { run(pool, a); });
}

void embedding_backward(Stream& stream, const EmbeddingBackward& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { run(pool, a); });
}

}  // namespace ddp::cpu
