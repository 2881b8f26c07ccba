// What the attention kernels of both precisions share: arguments, where a head lies in memory, dropout, tile loads.
// The method is FlashAttention's (Dao et al., 2022; FlashAttention-2, 2023), by blocks of 64 rows of one head: forward
// and dq own 64 queries and walk over the keys they see, dk and dv own 64 keys and walk over the queries that see them.
// Backward is two passes with 7 products instead of 5, and so needs no atomics: every sum has a fixed order.
//
// Legend: B samples, T positions, H heads, D = 64 wide each, C = H D. qkv, dqkv (B,T,3C) = q | k | v; out, dout
// (B,T,C); lse, delta (B,H,T) f32; delta = row sums of dout * out, what the softmax's gradient subtracts.
//
// Registers of a thread without/with dropout, ptxas 13.0; nothing spills on sm_75, 80, 86, 89, 90, 100, 120 (on sm_75
// those are of f16 alone: mma.cuh):
//                        sm_75    sm_80    sm_90    sm_100   sm_120   threads  shared memory
//   f32 forward          104/126  104/126  106/128  114/136  110/132  256      45,056 bytes
//   f32 dq               119/140  120/140  120/140  120/140  124/142  256      62,464
//   f32 dk, dv           122/140  122/140  124/140  140/150  138/152  256      62,464
//   f16, bf16 forward    142/174  143/172  145/176  140/134  159/140  128      18,944
//   f16, bf16 dq         178/244  177/235  179/179  188/252  199/250  128      18,944
//   f16, bf16 dk, dv     178/203  178/212  180/177  175/242  184/236  128      18,944
#pragma once

#include "kernels/cuda/storage.cuh"
//
#include "kernels/cuda/warp.cuh"
#include "kernels/ops/attention.h"
#include "runtime/base/philox.h"
#include "runtime/base/rounding.h"

namespace ddp::cuda {

inline constexpr int kHeadDim = 64;
inline constexpr int kOwnRows = 64;           // of a block
inline constexpr float kScoreScale = 0.125f;  // 1 / sqrt(D)

struct AttentionDropout {
  uint32_t seed, site;
  uint32_t keep_from;  // the words from here on are kept
  float inv_keep;      // 1 / (1 - p); 1 without dropout
  const uint32_t* step;
  const int32_t* sample_ids;
};

template <class T>
struct AttentionForwardArgs {
  T* out;
  float* lse;
  const T* qkv;
  int t, heads;
  AttentionDropout dropout;
};

template <class T>
struct AttentionBackwardArgs {
  T* dqkv;
  const T *dout, *out, *qkv;
  const float* lse;
  float* delta;
  int t, heads;
  AttentionDropout dropout;
};

// Defined by attention_f32.cu (SIMT) and attention_mma.cu (tensor cores).
void launch_attention(const Stream& stream, int samples, bool dropout, const AttentionForwardArgs<float>& a);
void launch_attention(const Stream& stream, int samples, bool dropout, const AttentionForwardArgs<half>& a);
void launch_attention(const Stream& stream, int samples, bool dropout, const AttentionForwardArgs<bfloat16>& a);
void launch_attention(const Stream& stream, int samples, bool dropout, const AttentionBackwardArgs<float>& a);
void launch_attention(const Stream& stream, int samples, bool dropout, const AttentionBackwardArgs<half>& a);
void launch_attention(const Stream& stream, int samples, bool dropout, const AttentionBackwardArgs<bfloat16>& a);

// A block for each head of a sample and 64 of its rows. Rows are the slow index, so that the blocks with most tiles to
// visit start first, in all heads.
template <class Args>
LaunchShape attention_shape(const char* name, int samples, const Args& a, int threads, size_t shared_bytes) {
  const dim3 grid(unsigned(samples * a.heads), unsigned(ceil_div(a.t, kOwnRows)));
  return {name, grid, dim3(unsigned(threads)), shared_bytes};
}

// The block's rows [begin, begin + 64): late queries see most keys, early keys are seen by most queries.
__device__ __forceinline__ int first_own_query() { return int(gridDim.y - 1 - blockIdx.y) * kOwnRows; }
__device__ __forceinline__ int first_own_key() { return int(blockIdx.y) * kOwnRows; }

// One head of one sample: position t is D elements at first + t * stride.
template <class T>
struct HeadRows {
  T* first;
  int64_t stride;
  __device__ T* at(int t) const { return first + t * stride; }
};

enum class Part : int { query, key, value };

template <class T>
__device__ __forceinline__ HeadRows<T> qkv_rows(T* qkv, Part part, int t, int heads) {
  const int sample = int(blockIdx.x) / heads, head = int(blockIdx.x) % heads;
  const int64_t c = int64_t(heads) * kHeadDim;
  return {qkv + (int64_t(sample) * t * 3 + int(part)) * c + head * kHeadDim, 3 * c};
}

// Of out or dout.
template <class T>
__device__ __forceinline__ HeadRows<T> out_rows(T* out, int t, int heads) {
  const int sample = int(blockIdx.x) / heads, head = int(blockIdx.x) % heads;
  const int64_t c = int64_t(heads) * kHeadDim;
  return {out + int64_t(sample) * t * c + head * kHeadDim, c};
}

// 16 bytes at once.
__device__ __forceinline__ uint4 load16(const void* from) { return *static_cast<const uint4*>(from); }
__device__ __forceinline__ void store16(void* to, uint4 v) { *static_cast<uint4*>(to) = v; }

// tile = rows [begin, begin + kRows) of a head, zero from position t on. All threads of the block call; kStride keeps
// rows 16-byte aligned.
template <int kThreads, int kRows, int kTileRows, int kStride, class T>
__device__ __forceinline__ void load_rows(T (&tile)[kTileRows][kStride], HeadRows<const T> from, int begin, int t) {
  constexpr int kElements = 16 / sizeof(T), kPieces = kHeadDim / kElements;
  static_assert(kRows <= kTileRows && kRows * kPieces % kThreads == 0 && kStride % kElements == 0);
#pragma unroll
  for (int i = 0; i < kRows * kPieces / kThreads; ++i) {
    const int piece = i * kThreads + int(threadIdx.x), row = piece / kPieces, column = piece % kPieces * kElements;
    store16(&tile[row][column], begin + row < t ? load16(from.at(begin + row) + column) : make_uint4(0, 0, 0, 0));
  }
}

// Over groups of kVecWidth neighbouring lanes, those that share a row; every lane gets the result.
template <int kVecWidth>
__device__ __forceinline__ float lanes_sum(float value) {
#pragma unroll
  for (int step = kVecWidth / 2; step > 0; step /= 2) value += shuffle_xor(value, step);
  return value;
}
template <int kVecWidth>
__device__ __forceinline__ float lanes_max(float value) {
#pragma unroll
  for (int step = kVecWidth / 2; step > 0; step /= 2) value = fmaxf(value, shuffle_xor(value, step));
  return value;
}

// Which of the probabilities {q, q + 8} x {k, k + 8} dropout keeps.
struct KeptQuad {
  unsigned bits;  // 2 q_half + k_half
  __device__ __forceinline__ bool at(int q_half, int k_half) const { return (bits >> (2 * q_half + k_half) & 1) != 0; }
};

// The dropout of the block's head, by the definition in kernels/dropout.h.
template <bool kDropout>
class HeadDropout {
 public:
  __device__ HeadDropout(const AttentionDropout& d, int heads)
      : seed_(d.seed),
        step_(kDropout ? *d.step : 0),
        site_head_(d.site << 8 | blockIdx.x % unsigned(heads)),
        sample_(kDropout ? uint32_t(d.sample_ids[blockIdx.x / unsigned(heads)]) : 0),
        keep_from_(d.keep_from) {}

  // From one Philox call. q and k lie in the first half of their 16.
  __device__ __forceinline__ KeptQuad quad(int q, int k) const {
    if constexpr (!kDropout) return {15u};
    const Philox4 r =
        philox(seed_, step_, uint32_t(q / 16 * 8 + q % 8), uint32_t(k / 16 * 8 + k % 8), site_head_, sample_);
    KeptQuad kept{0};
#pragma unroll
    for (int i = 0; i < 4; ++i) kept.bits |= unsigned(r.word[i] >= keep_from_) << i;
    return kept;
  }

 private:
  uint32_t seed_, step_, site_head_, sample_, keep_from_;
};

}  // namespace ddp::cuda
