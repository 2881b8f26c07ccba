#include "runtime/comm/tree_sum.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "runtime/base/check.h"

namespace ddp {
namespace {

constexpr int kMaxUnrolled = 8;  // sources that one loop reads side by side

constexpr int left_of(int count) { return int(std::bit_floor(unsigned(count - 1))); }

template <int First, int Count, class T>
inline T tree_at(const T* const* sources, int64_t i) {
  if constexpr (Count == 1) {
    return sources[First][i];
  } else {
    constexpr int kLeft = left_of(Count);
    return tree_at<First, kLeft>(sources, i) + tree_at<First + kLeft, Count - kLeft>(sources, i);
  }
}

// One pass: each element is loaded once from every source and stored at once to every output, which is 10 to 25% faster
// than through a block in L1 (2 and 4 ranks, 25 MiB, Zen 5).
template <int Count, int NumOuts, class T>
void sum_fused(T* const* outs, const T* const* sources, int64_t n) {
  T* out[NumOuts];
  const T* source[Count];
  std::copy_n(outs, NumOuts, out);
  std::copy_n(sources, Count, source);
#pragma GCC ivdep  // an output that is a source is written only where it has been read
  for (int64_t i = 0; i < n; ++i) {
    const T sum = tree_at<0, Count>(source, i);
    for (int k = 0; k < NumOuts; ++k) out[k][i] = sum;
  }
}

template <int Count, class T>
void sum_count(std::span<T* const> outs, const T* const* sources, int64_t n) {
  if (outs.size() == 1)
    sum_fused<Count, 1>(outs.data(), sources, n);
  else
    sum_fused<Count, Count>(outs.data(), sources, n);
}

template <class T>
void sum_unrolled(std::span<T* const> outs, std::span<const T* const> sources, int64_t n) {
  switch (sources.size()) {
    case 1:
      return sum_count<1>(outs, sources.data(), n);
    case 2:
      return sum_count<2>(outs, sources.data(), n);
    case 3:
      return sum_count<3>(outs, sources.data(), n);
    case 4:
      return sum_count<4>(outs, sources.data(), n);
    case 5:
      return sum_count<5>(outs, sources.data(), n);
    case 6:
      return sum_count<6>(outs, sources.data(), n);
    case 7:
      return sum_count<7>(outs, sources.data(), n);
    case 8:
      return sum_count<8>(outs, sources.data(), n);
  }
}

constexpr int64_t kBlock =
    1024;  // elements: more than 8 sources are summed subtree by subtree in blocks that stay in L1

// sum[i] = the tree over s of sources[s][begin + i], i in [0, n), n <= kBlock.
template <class T>
void sum_block(T* sum, std::span<const T* const> sources, int64_t begin, int64_t n) {
  if (sources.size() <= kMaxUnrolled) {
    const T* at[kMaxUnrolled];
    for (size_t s = 0; s < sources.size(); ++s) at[s] = sources[s] + begin;
    return sum_unrolled<T>({&sum, 1}, {at, sources.size()}, n);
  }
  alignas(64) T right[kBlock];
  const size_t left = size_t(left_of(int(sources.size())));
  sum_block(sum, sources.first(left), begin, n);
  sum_block(right, sources.subspan(left), begin, n);
  for (int64_t i = 0; i < n; ++i) sum[i] += right[i];
}

}  // namespace

template <class T>
void tree_sum(std::span<T* const> outs, std::span<const T* const> sources, int64_t n) {
  DDP_CHECK(outs.size() == 1 || outs.size() == sources.size(), "{} outputs of {} sources", outs.size(), sources.size());
  if (sources.size() <= kMaxUnrolled) return sum_unrolled(outs, sources, n);
  alignas(64) T sum[kBlock];
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t length = std::min(kBlock, n - begin);
    sum_block(sum, sources, begin, length);
    for (T* out : outs) std::memcpy(out + begin, sum, size_t(length) * sizeof(T));
  }
}

template void tree_sum(std::span<float* const>, std::span<const float* const>, int64_t);
template void tree_sum(std::span<double* const>, std::span<const double* const>, int64_t);

}  // namespace ddp
