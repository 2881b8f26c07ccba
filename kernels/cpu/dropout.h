// Dropout masks as the multipliers 0 and 1 / (1 - p), by the definition in kernels/dropout.h, 64 Philox words or more
// at a time.
#pragma once

#include "kernels/cpu/scratch.h"
#include "kernels/cpu/vec.h"
#include "kernels/dropout.h"

namespace ddp::cpu {

class DropoutMask {
 public:
  // Reads the step: construct where the op runs, not where it is enqueued.
  explicit DropoutMask(const Dropout& d)
      : d_(d), step_(d.p > 0.0f ? *d.step : 0), threshold_(first_kept_word(d.p)), scale_(kept_scale(d.p)) {}

  bool active() const { return d_.p > 0.0f; }

  // Floats of a buffer for row(): n elements, from a multiple of 4 to whole batches of 64.
  static int64_t row_buffer(int64_t n) { return round_up(n + 3, 64); }

  // Multipliers of elements [begin, begin + n) of sample `b` of the batch; written to and pointing into `buffer`.
  const float* row(int64_t b, int64_t begin, int64_t n, float* buffer) const {
    const int64_t lead = begin % 4;
    for (int64_t done = 0; done < lead + n; done += 64) {
      const v16u c0 = v16u(kVecIndex) + uint32_t((begin - lead + done) / 4);
      const Philox16 r = philox(d_.seed, step_, c0, v16u{}, d_.site << 8, uint32_t(d_.sample_ids[b]));
      // Element 4 i + w is lane i of word w: zip the even words, the odd words, then both.
      const Zip even = zip(keep(r.word[0]), keep(r.word[2])), odd = zip(keep(r.word[1]), keep(r.word[3]));
      const Zip low = zip(even.low, odd.low), high = zip(even.high, odd.high);
      store(buffer + done, low.low);
      store(buffer + done + 16, low.high);
      store(buffer + done + 32, high.low);
      store(buffer + done + 48, high.high);
    }
    return buffer + lead;
  }

  // Multipliers of the 16 x 16 probabilities whose first is (q, k), multiples of 16: tile[i] is row q + i.
  void attention_tile(int64_t b, int64_t head, int64_t q, int64_t k, v16 (&tile)[kVecWidth]) const {
    // The counters of rows 2 pair (lanes 0-7) and 2 pair + 1; each serves rows q % 8 and q % 8 + 8.
    for (int pair = 0; pair < 4; ++pair) {
      const v16u c0 = (v16u(kVecIndex) >> 3) + uint32_t(q / 2 + 2 * pair);
      const v16u c1 = (v16u(kVecIndex) & 7) + uint32_t(k / 2);
      const Philox16 r = philox(d_.seed, step_, c0, c1, d_.site << 8 | uint32_t(head), uint32_t(d_.sample_ids[b]));
      for (int half = 0; half < 2; ++half) {
        const v16 left = keep(r.word[2 * half]), right = keep(r.word[2 * half + 1]);
        tile[8 * half + 2 * pair] =
            __builtin_shufflevector(left, right, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
        tile[8 * half + 2 * pair + 1] =
            __builtin_shufflevector(left, right, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
      }
    }
  }

 private:
  DDP_INLINE v16 keep(v16u word) const { return word >= threshold_ ? splat(scale_) : v16{}; }

  Dropout d_;
  uint32_t step_;
  uint32_t threshold_;  // the words from here on are kept
  float scale_;
};

}  // namespace ddp::cpu
