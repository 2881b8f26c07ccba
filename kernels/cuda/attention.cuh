// What the attention kernels of both precisions share: arguments, where a head lies in memory, what it sees, dropout,
// tile loads. The method is FlashAttention's (Dao et al., 2022; FlashAttention-2, 2023), by blocks of rows of one head:
// forward and dq own queries and walk over the keys they see, dk and dv own keys and walk over the queries that see
// them. Backward is two passes with 7 products instead of 5, and so needs no atomics: every sum has a fixed order.
//
// A kernel is compiled for a number of columns, kDim; narrower heads are padded with zeros in shared memory. Causal
// heads of 64 without lengths, GPT-2's, have kernels of their own (Rules), in which nothing is asked at run time.
//
// Legend: B samples, T positions, H heads, D wide each, C = H D. qkv, dqkv (B,T,3C) = q | k | v; out, dout (B,T,C);
// lse, delta (B,H,T) f32; delta = row sums of dout * out, what the softmax's gradient subtracts.
//
// Registers of a thread, ptxas 13.0, the larger of f16 and bf16 (on sm_75 of f16 alone: mma.cuh); nothing spills on
// sm_75, 80, 86, 90, 100, 120. Causal heads of 64 are given without/with dropout.
//                     kDim         sm_75    sm_80    sm_90    sm_100   sm_120   threads  shared memory
//   f32 forward       causal 64    102/126  102/126  104/128  114/136  110/132  256      45,056 bytes
//                     64           136      136      142      144      148
//                     128          150      150      154      151      154      128      36,864
//   f32 dq            causal 64    119/138  118/138  120/140  120/140  124/142  256      62,464
//                     64           144      144      150      148      150
//                     128          157      157      162      157      160      128      53,760
//   f32 dk, dv        causal 64    124/140  124/140  124/142  140/150  136/150  256      62,464
//                     64           144      144      150      154      154
//                     128          185      185      190      185      184      128      53,760
//   16 bits forward   causal 64    141/180  142/174  159/164  140/137  159/140  128      18,944
//                     32           118      118      126      122      125               10,752
//                     64           160      165      158      159      154               18,944
//                     96, 128      128, 162 139, 166 130, 164 122, 142 122, 144          40,448, 52,736
//   16 bits dq        causal 64    179/242  176/248  178/240  188/250  190/246  128      18,944
//                     32           172      172      170      168      162               10,752
//                     64           228      232      232      205      209               18,944
//                     96, 128      176, 202 176, 202 178, 202 182, 190 172, 184          40,448, 52,736
//   16 bits dk, dv    causal 64    182/203  180/212  177/218  174/238  184/236  128      18,944
//                     32           127      128      131      130      136               10,752
//                     64           176      177      172      178      178               18,944
//                     96, 128      224, 254 224, 254 228, 254 232, 244 231, 248          40,448, 52,736
#pragma once

#include "kernels/cuda/storage.cuh"
//
#include "kernels/cuda/warp.cuh"
#include "kernels/ops/attention.h"
#include "runtime/base/philox.h"
#include "runtime/base/rounding.h"

namespace ddp::cuda {

inline constexpr int kTunedDim = 64, kMaxDim = 128;

struct AttentionDropout {
  uint32_t seed, site;
  uint32_t keep_from;    // the words from here on are kept
  float inv_keep;        // 1 / (1 - p); 1 without dropout
  const uint32_t* step;  // nullptr: no dropout
  const int32_t* sample_ids;
};

// Of a call, forward or backward.
struct AttentionProblem {
  int samples, t, heads;
  int d;        // a multiple of 8, at most kMaxDim
  float scale;  // 1 / sqrt(D)
  bool causal;
  const int32_t* lengths;  // (B); nullptr: all are T
  AttentionDropout dropout;
};

template <class T>
struct AttentionForwardArgs {
  T* out;
  float* lse;
  const T* qkv;
  AttentionProblem problem;
};

template <class T>
struct AttentionBackwardArgs {
  T* dqkv;
  const T *dout, *out, *qkv;
  const float* lse;
  float* delta;
  AttentionProblem problem;
};

// Defined by attention_f32.cu (SIMT) and attention_mma.cu (tensor cores).
void launch_attention(const Stream& stream, const AttentionForwardArgs<float>& a);
void launch_attention(const Stream& stream, const AttentionForwardArgs<half>& a);
void launch_attention(const Stream& stream, const AttentionForwardArgs<bfloat16>& a);
void launch_attention(const Stream& stream, const AttentionBackwardArgs<float>& a);
void launch_attention(const Stream& stream, const AttentionBackwardArgs<half>& a);
void launch_attention(const Stream& stream, const AttentionBackwardArgs<bfloat16>& a);

// What a kernel knows when it is compiled: causal heads of kTunedDim without lengths, with or without dropout, or
// nothing but kDim >= D.
enum class Rules { causal, causal_dropout, any };

// A kernel's template arguments as a value.
template <int kColumns, Rules kOf>
struct Variant {
  static constexpr int kDim = kColumns;
  static constexpr Rules kRules = kOf;
};

// f(Variant) of the kernel for this problem: its own, or that of the first of kDims, ascending, which holds D.
template <int... kDims, class F>
void with_variant(const AttentionProblem& a, F f) {
  if (a.d == kTunedDim && a.causal && a.lengths == nullptr) {
    if (a.dropout.step != nullptr)
      f(Variant<kTunedDim, Rules::causal_dropout>{});
    else
      f(Variant<kTunedDim, Rules::causal>{});
  } else {
    bool found = false;
    ((!found && a.d <= kDims ? (found = true, f(Variant<kDims, Rules::any>{})) : void()), ...);
  }
}

// A block for each head of a sample and `own_rows` of its rows. Rows are the slow index, so that the blocks with most
// tiles to visit start first, in all heads.
inline LaunchShape attention_shape(const char* name, const AttentionProblem& a, int own_rows, int threads,
                                   size_t shared_bytes) {
  const dim3 grid(unsigned(a.samples * a.heads), unsigned(ceil_div(a.t, own_rows)));
  return {name, grid, dim3(unsigned(threads)), shared_bytes};
}

// The first of the block's rows: late queries see most keys, early keys are seen by most queries.
template <int kOwnRows>
__device__ __forceinline__ int first_own_query() {
  return int(gridDim.y - 1 - blockIdx.y) * kOwnRows;
}
template <int kOwnRows>
__device__ __forceinline__ int first_own_key() {
  return int(blockIdx.y) * kOwnRows;
}

// One head of one sample: position t is D elements at first + t * stride.
template <class T>
struct HeadRows {
  T* first;
  int64_t stride;
  __device__ T* at(int t) const { return first + t * stride; }
};

enum class Part : int { query, key, value };

// The block's head: where it lies, how wide and how long it is, and which keys a query sees.
template <int kDim, Rules kRules>
class Head {
 public:
  __device__ __forceinline__ explicit Head(const AttentionProblem& a)
      : a_(a), length_(kTuned || a.lengths == nullptr ? a.t : a.lengths[int(blockIdx.x) / a.heads]) {
    // A corrupt length reads nothing, and shows as a loss that is not a number.
    if (!kTuned && (length_ < 1 || length_ > a.t)) length_ = 0;
  }

  template <class T>
  __device__ __forceinline__ HeadRows<T> qkv(T* qkv, Part part) const {
    const int sample = int(blockIdx.x) / a_.heads, head = int(blockIdx.x) % a_.heads;
    const int64_t c = int64_t(a_.heads) * width();
    return {qkv + (int64_t(sample) * a_.t * 3 + int(part)) * c + head * width(), 3 * c};
  }
  // Of out or dout.
  template <class T>
  __device__ __forceinline__ HeadRows<T> out(T* out) const {
    const int sample = int(blockIdx.x) / a_.heads, head = int(blockIdx.x) % a_.heads;
    const int64_t c = int64_t(a_.heads) * width();
    return {out + int64_t(sample) * a_.t * c + head * width(), c};
  }
  // Of lse or delta.
  template <class T>
  __device__ __forceinline__ T* statistics(T* rows) const {
    return rows + int64_t(blockIdx.x) * a_.t;
  }

  __device__ __forceinline__ int width() const { return kTuned ? kDim : a_.d; }
  __device__ __forceinline__ float scale() const { return kTuned ? 0.125f : a_.scale; }
  __device__ __forceinline__ int positions() const { return a_.t; }
  __device__ __forceinline__ int length() const { return kTuned ? a_.t : length_; }
  // What rows from the length on hold: zeros, or what shows that there is none.
  __device__ __forceinline__ float past_length() const { return length() > 0 ? 0.0f : NAN; }

  // A query sees the keys up to last_key, a key is seen by the queries from first_query on.
  __device__ __forceinline__ int last_key(int query) const { return is_causal() ? query : length_ - 1; }
  __device__ __forceinline__ int first_query(int key) const { return is_causal() ? key : 0; }
  // The end of the keys that `rows` queries from `query` on see, and the first query that sees any of the keys from
  // `key` on; nobody past the length sees or is seen.
  __device__ __forceinline__ int keys_end(int query, int rows) const {
    if (!kTuned && query >= length_) return 0;
    return is_causal() ? min(length(), query + rows) : length_;
  }
  __device__ __forceinline__ int queries_begin(int key) const {
    if (!kTuned && key >= length_) return length_;
    return first_query(key);
  }

 private:
  static constexpr bool kTuned = kRules != Rules::any;
  __device__ __forceinline__ bool is_causal() const { return kTuned || a_.causal; }

  const AttentionProblem& a_;
  int length_;
};

// 16 bytes at once.
__device__ __forceinline__ uint4 load16(const void* from) { return *static_cast<const uint4*>(from); }
__device__ __forceinline__ void store16(void* to, uint4 v) { *static_cast<uint4*>(to) = v; }

// tile = rows [begin, begin + kRows) of a head, zero past its length and its width. All threads of the block call;
// kStride keeps rows 16-byte aligned.
template <int kThreads, int kRows, int kTileRows, int kStride, int kDim, Rules kRules, class T>
__device__ __forceinline__ void load_rows(T (&tile)[kTileRows][kStride], const Head<kDim, kRules>& head,
                                          HeadRows<const T> from, int begin) {
  constexpr int kElements = 16 / sizeof(T), kPieces = kDim / kElements;
  static_assert(kRows <= kTileRows && kRows * kPieces % kThreads == 0 && kStride % kElements == 0);
#pragma unroll
  for (int i = 0; i < kRows * kPieces / kThreads; ++i) {
    const int piece = i * kThreads + int(threadIdx.x), row = piece / kPieces, column = piece % kPieces * kElements;
    const bool there = begin + row < head.length() && column < head.width();
    store16(&tile[row][column], there ? load16(from.at(begin + row) + column) : make_uint4(0, 0, 0, 0));
  }
}

// Over groups of kLanes neighbouring lanes, those that share a row; every lane gets the result.
template <int kLanes>
__device__ __forceinline__ float lanes_sum(float value) {
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) value += shuffle_xor(value, step);
  return value;
}
template <int kLanes>
__device__ __forceinline__ float lanes_max(float value) {
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) value = fmaxf(value, shuffle_xor(value, step));
  return value;
}

// Which of the probabilities {q, q + 8} x {k, k + 8} dropout keeps.
struct KeptQuad {
  unsigned bits;  // 2 q_half + k_half
  __device__ __forceinline__ bool at(int q_half, int k_half) const { return (bits >> (2 * q_half + k_half) & 1) != 0; }
};

// The dropout of the block's head, by the definition in kernels/dropout.h.
template <Rules kRules>
class HeadDropout {
 public:
  __device__ explicit HeadDropout(const AttentionProblem& a)
      : is_active_(a.dropout.step != nullptr),
        seed_(a.dropout.seed),
        step_(is_active() ? *a.dropout.step : 0),
        site_head_(a.dropout.site << 8 | blockIdx.x % unsigned(a.heads)),
        sample_(is_active() ? uint32_t(a.dropout.sample_ids[blockIdx.x / unsigned(a.heads)]) : 0),
        keep_from_(a.dropout.keep_from) {}

  // From one Philox call. q and k lie in the first half of their 16.
  __device__ __forceinline__ KeptQuad quad(int q, int k) const {
    if (!is_active()) return {15u};
    const Philox4 r =
        philox(seed_, step_, uint32_t(q / 16 * 8 + q % 8), uint32_t(k / 16 * 8 + k % 8), site_head_, sample_);
    KeptQuad kept{0};
#pragma unroll
    for (int i = 0; i < 4; ++i) kept.bits |= unsigned(r.word[i] >= keep_from_) << i;
    return kept;
  }

 private:
  __device__ __forceinline__ bool is_active() const {
    return kRules == Rules::any ? is_active_ : kRules == Rules::causal_dropout;
  }

  bool is_active_;
  uint32_t seed_, step_, site_head_, sample_, keep_from_;
};

}  // namespace ddp::cuda
