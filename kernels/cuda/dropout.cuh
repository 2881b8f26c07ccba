// Dropout masks as the multipliers 0 and 1 / (1 - p), by the definition in kernels/dropout.h: the same bits as the
// CPU's.
#pragma once

#include "kernels/cuda/pack.cuh"
#include "kernels/dropout.h"
#include "runtime/base/philox.h"

namespace ddp::cuda {

// Of rows of C elements. A kernel's argument, by value.
struct RowMask {
  const uint32_t* step;  // nullptr: no dropout
  const int32_t* sample_ids;
  int64_t rows_per_sample;
  uint32_t seed, site;
  uint32_t threshold;  // the words from here on are kept
  float scale;
};

// For a tensor of `rows` rows.
inline RowMask row_mask(const Dropout& d, int64_t rows) {
  if (d.p == 0.0f) return {};
  return {.step = d.step,
          .sample_ids = d.sample_ids,
          .rows_per_sample = rows / d.num_samples,
          .seed = d.seed,
          .site = d.site,
          .threshold = first_kept_word(d.p),
          .scale = kept_scale(d.p)};
}

// Multipliers of elements [column, column + W) of row `row`; W is 1 or, as then C and column, a multiple of 4, so that
// one Philox call has four of them.
template <int W>
__device__ __forceinline__ Pack<W> keep(const RowMask& mask, int64_t row, int64_t column, int64_t c) {
  const int64_t element = row % mask.rows_per_sample * c + column;
  const auto sample = uint32_t(mask.sample_ids[row / mask.rows_per_sample]);
  const auto words = [&](int64_t first) {
    return philox(mask.seed, *mask.step, uint32_t(first / 4), 0, mask.site << 8, sample);
  };
  Pack<W> out;
  if constexpr (W > 1) {
#pragma unroll
    for (int first = 0; first < W; first += 4) {
      const Philox4 r = words(element + first);
#pragma unroll
      for (int i = 0; i < 4; ++i) out.x[first + i] = r.word[i] >= mask.threshold ? mask.scale : 0.0f;
    }
  } else {
    const Philox4 r = words(element);
    const int low = element % 2, high = element / 2 % 2;  // no array of registers is indexed at run time
    const uint32_t word = high != 0 ? (low != 0 ? r.word[3] : r.word[2]) : (low != 0 ? r.word[1] : r.word[0]);
    out.x[0] = word >= mask.threshold ? mask.scale : 0.0f;
  }
  return out;
}

}  // namespace ddp::cuda
