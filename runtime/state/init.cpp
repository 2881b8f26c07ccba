#include "runtime/state/init.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "runtime/base/philox.h"
#include "runtime/state/saved_view.h"

namespace ddp {
namespace {

// Normal values as a pure function of (seed, stream, element); Box-Muller on Philox words, two at a time.
void fill_normal(ThreadPool& pool, std::span<float> out, uint64_t seed, uint32_t stream, double sigma) {
  constexpr size_t kBlock = 65536;  // elements; whole Philox calls, of 4 words each
  pool.parallel_for(int64_t((out.size() + kBlock - 1) / kBlock), [=](int64_t block) {
    const size_t begin = size_t(block) * kBlock, end = std::min(out.size(), begin + kBlock);
    for (size_t i = begin; i < end; i += 4) {
      const Philox4 r =
          philox(uint32_t(seed), uint32_t(seed >> 32), uint32_t(i / 4), uint32_t(uint64_t(i / 4) >> 32), stream, 0);
      for (size_t j = 0; j < 4 && i + j < end; j += 2) {
        const double u = (double(r.word[j]) + 1.0) * 0x1p-32,
                     angle = 2.0 * std::numbers::pi * double(r.word[j + 1]) * 0x1p-32;
        const double radius = sigma * std::sqrt(-2.0 * std::log(u));
        out[i + j] = float(radius * std::cos(angle));
        if (i + j + 1 < end) out[i + j + 1] = float(radius * std::sin(angle));
      }
    }
  });
}

// `out` in the order of the saved elements.
void fill(ThreadPool& pool, std::span<float> out, const Init& init, uint64_t seed, uint32_t stream) {
  switch (init.kind) {
    case Init::Kind::constant:
      std::fill(out.begin(), out.end(), float(init.value));
      break;
    case Init::Kind::normal:
      fill_normal(pool, out, seed, stream, init.value);
      break;
  }
}

}  // namespace

void init_params(const ParamLayout& layout, std::span<float> flat, uint64_t seed, ThreadPool& pool) {
  DDP_CHECK(int64_t(flat.size()) == layout.flat_elements(), "a buffer of {} elements", flat.size());
  std::fill(flat.begin(), flat.end(), 0.0f);
  uint32_t stream = 0;
  for (const Param& p : layout.params()) {
    const SavedView whole = saved_view(layout, p);
    const std::span<float> memory = flat.subspan(size_t(p.offset), size_t(p.numel));
    if (whole.is_contiguous()) {
      fill(pool, memory.first(size_t(whole.shape.numel())), p.init, seed, stream);
    } else {
      std::vector<float> values(static_cast<size_t>(whole.shape.numel()));
      fill(pool, values, p.init, seed, stream);
      whole.scatter(values, memory.data());
    }
    ++stream;
  }
}

}  // namespace ddp
