// Attention in f16 and bf16 with f32 sums, on tensor cores, T the type of 16 bits. A block of 4 warps owns 64 rows, 16
// a warp; tiles of other rows pass through shared memory. Scores come out of mma as C fragments, become probabilities
// or gradients in place, and go into the next product as its A fragments. Own rows stay in registers as A fragments
// where they fit beside the sums, in heads of up to 64 columns; of wider ones they stay in shared memory, and the tiles
// of other rows are half as long. No cp.async, no larger mma: sm_75 has neither. See mma.cuh for which lane owns what.
//
// Legend: attention.cuh. own, other: the block's rows and those of the tile; g = lane / 4, t = lane % 4.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/mma.cuh"

namespace ddp::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kOwnRows = 64;
constexpr int kRowLanes = 4;  // that share own rows: t = 0 ... 3
constexpr int kQueries =
    32;  // of a tile for dk and dv: with 64 both sums and both score tiles would not fit in 255 registers

template <int kDim>
inline constexpr bool kOwnInRegisters = kDim <= 64;
template <int kDim>
inline constexpr int kKeys = kOwnInRegisters<kDim> ? 64 : 32;  // of a tile for out and dq
// Blocks of 8 columns of D: k-steps of a score, n-blocks of an output.
template <int kDim>
inline constexpr int kSteps = kDim / 8;

// ldmatrix reads 8 rows of 16 bytes: of rows kDim + 8 long they lie in all 32 banks.
template <class T, int kDim, int kRows = kOwnRows>
using Tile = T[kRows][kDim + 8];

template <class T, int kDim, bool kShared = kOwnInRegisters<kDim>>
struct Tiles {
  alignas(16) Tile<T, kDim> first, second;
  float lse[kOwnRows], delta[kOwnRows];
  __device__ Tile<T, kDim>& own_first() { return first; }
  __device__ Tile<T, kDim>& own_second() { return second; }
};

template <class T, int kDim>
struct Tiles<T, kDim, false> {
  alignas(16) Tile<T, kDim> own[2];
  Tile<T, kDim, kKeys<kDim>> first, second;
  float lse[kOwnRows], delta[kOwnRows];
  __device__ Tile<T, kDim>& own_first() { return own[0]; }
  __device__ Tile<T, kDim>& own_second() { return own[1]; }
};

template <int kDim>
using Output = float[kSteps<kDim>][4];  // C fragments of 16 rows of D

__device__ __forceinline__ int lane() { return int(threadIdx.x) % kWarp; }
__device__ __forceinline__ int warp_row() { return int(threadIdx.x) / kWarp * 16; }
__device__ __forceinline__ int own_row() { return warp_row() + lane() / 4; }  // of c[0], c[1]; c[2], c[3] are 8 below
__device__ __forceinline__ int first_column() { return lane() % 4 * 2; }  // of c[0], c[2]; c[1], c[3] are next to it

// The warp's 16 rows of an own tile as A fragments.
template <class T, int kDim>
class OwnRows {
 public:
  __device__ __forceinline__ explicit OwnRows(const Tile<T, kDim>& tile) : tile_(tile) {
    if constexpr (kOwnInRegisters<kDim>) {
#pragma unroll
      for (int s = 0; s < kSteps<kDim>; s += 2) load(kept_[s], kept_[s + 1], s);
    }
  }
  // Of the k-steps s and s + 1, s even.
  __device__ __forceinline__ void pair(unsigned (&a)[2][2], int s) const {
    if constexpr (kOwnInRegisters<kDim>) {
      a[0][0] = kept_[s][0], a[0][1] = kept_[s][1], a[1][0] = kept_[s + 1][0], a[1][1] = kept_[s + 1][1];
    } else {
      load(a[0], a[1], s);
    }
  }

 private:
  __device__ __forceinline__ void load(unsigned (&a0)[2], unsigned (&a1)[2], int s) const {
    unsigned r[4];
    ldmatrix_x4(r, &tile_[warp_row() + lane() % 16][s * 8 + lane() / 16 * 8]);
    a0[0] = r[0], a0[1] = r[1], a1[0] = r[2], a1[1] = r[3];
  }

  const Tile<T, kDim>& tile_;
  unsigned kept_[kOwnInRegisters<kDim> ? kSteps<kDim> : 1][2];
};

// c (16 x 8 N) = a (16 x D) other^T, other: 8 N rows.
template <int N, int kDim, int kRows, class T>
__device__ __forceinline__ void multiply_transposed(float (&c)[N][4], const OwnRows<T, kDim>& a,
                                                    const T (&other)[kRows][kDim + 8]) {
#pragma unroll
  for (int j = 0; j < N; ++j)
#pragma unroll
    for (int e = 0; e < 4; ++e) c[j][e] = 0.0f;
#pragma unroll
  for (int s = 0; s < kSteps<kDim>; s += 2) {
    unsigned own[2][2];
    a.pair(own, s);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      unsigned b[N];
#pragma unroll
      for (int j = 0; j < N; j += 4) {
        unsigned r[4];
        ldmatrix_x4(r, &other[j * 8 + lane()][(s + half) * 8]);
        b[j] = r[0], b[j + 1] = r[1], b[j + 2] = r[2], b[j + 3] = r[3];
      }
      mma_row<T>(c, own[half], b);
    }
  }
}

// acc (16 x D) += p (16 x 8 N) other, other: 8 N rows.
template <int N, int kSteps, int kRows, int kStride, class T>
__device__ __forceinline__ void multiply_add(float (&acc)[kSteps][4], const unsigned (&p)[N][2],
                                             const T (&other)[kRows][kStride]) {
#pragma unroll
  for (int s = 0; s < N; ++s) {
    unsigned b[kSteps];
#pragma unroll
    for (int j = 0; j < kSteps; j += 4) {
      unsigned r[4];
      ldmatrix_x4_trans(r, &other[s * 8 + lane() % 8][(j + lane() / 8) * 8]);
      b[j] = r[0], b[j + 1] = r[1], b[j + 2] = r[2], b[j + 3] = r[3];
    }
    mma_row<T>(acc, p[s], b);
  }
}

// C fragments of two halves of rows become A fragments.
template <class T, int N>
__device__ __forceinline__ void pack(unsigned (&a)[N][2], const float (&c)[N][4]) {
#pragma unroll
  for (int j = 0; j < N; ++j) a[j][0] = pack_pair<T>(c[j][0], c[j][1]), a[j][1] = pack_pair<T>(c[j][2], c[j][3]);
}

// The block's rows of a head, from `begin` on, = factor * acc, by way of the warp's own rows of `tile`, which no warp
// reads any more: 16-byte stores. factor[i] belongs to row own_row() + 8 i.
template <class T, int kDim, Rules kRules>
__device__ __forceinline__ void store_rows(HeadRows<T> to, const Output<kDim>& acc, const float (&factor)[2],
                                           Tile<T, kDim>& tile, const Head<kDim, kRules>& head, int begin) {
#pragma unroll
  for (int j = 0; j < kSteps<kDim>; ++j)
#pragma unroll
    for (int i = 0; i < 2; ++i)
      *reinterpret_cast<unsigned*>(&tile[own_row() + 8 * i][j * 8 + first_column()]) =
          pack_pair<T>(factor[i] * acc[j][2 * i], factor[i] * acc[j][2 * i + 1]);
  __syncwarp();
  const unsigned past = pack_pair<T>(head.past_length(), head.past_length());
#pragma unroll
  for (int i = 0; i < kDim / 16; ++i) {
    const int piece = i * kWarp + lane(), row = warp_row() + piece / kSteps<kDim>, column = piece % kSteps<kDim> * 8;
    if (begin + row < head.positions() && column < head.width())
      store16(to.at(begin + row) + column,
              begin + row < head.length() ? load16(&tile[row][column]) : make_uint4(past, past, past, past));
  }
}

template <class T, int kDim, Rules kRules>
__global__ void __launch_bounds__(kThreads) forward_kernel(AttentionForwardArgs<T> a) {
  constexpr int N = kKeys<kDim> / 8;
  auto& tiles = shared_memory<Tiles<T, kDim>>();
  const Head<kDim, kRules> head(a.problem);
  const HeadDropout<kRules> dropout(a.problem);
  const int q0 = first_own_query<kOwnRows>(), row = q0 + own_row();
  const HeadRows<const T> k = head.qkv(a.qkv, Part::key), v = head.qkv(a.qkv, Part::value);
  load_rows<kThreads, kOwnRows>(tiles.own_first(), head, head.qkv(a.qkv, Part::query), q0);
  __syncthreads();
  const OwnRows<T, kDim> q(tiles.own_first());

  Output<kDim> acc = {};
  float top[2] = {-INFINITY, -INFINITY}, sum[2] = {};  // sum: of this lane's keys
  for (int k0 = 0; k0 < head.keys_end(q0, kOwnRows); k0 += kKeys<kDim>) {
    __syncthreads();
    load_rows<kThreads, kKeys<kDim>>(tiles.first, head, k, k0);
    load_rows<kThreads, kKeys<kDim>>(tiles.second, head, v, k0);
    __syncthreads();
    float s[N][4];
    multiply_transposed(s, q, tiles.first);
    float rescale[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float tile_top = -INFINITY;
#pragma unroll
      for (int j = 0; j < N; ++j)
#pragma unroll
        for (int e = 2 * i; e < 2 * i + 2; ++e) {
          const bool seen = k0 + j * 8 + first_column() + e % 2 <= head.last_key(row + 8 * i);
          s[j][e] = seen ? s[j][e] * head.scale() : -INFINITY;
          tile_top = fmaxf(tile_top, s[j][e]);
        }
      // Finite from the first tile on: key 0 is seen by every query.
      const float new_top = fmaxf(top[i], lanes_max<kRowLanes>(tile_top));
      rescale[i] = __expf(top[i] - new_top);
      top[i] = new_top;
      sum[i] *= rescale[i];
    }
#pragma unroll
    for (int j = 0; j < kSteps<kDim>; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) acc[j][e] *= rescale[e / 2];
#pragma unroll
    for (int jj = 0; jj < N; jj += 2)
#pragma unroll
      for (int column = 0; column < 2; ++column) {
        const KeptQuad kept = dropout.quad(row, k0 + jj * 8 + first_column() + column);
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            float& sij = s[jj + h][2 * i + column];
            const float p = __expf(sij - top[i]);
            sum[i] += p;
            sij = kept.at(i, h) ? p : 0.0f;
          }
      }
    unsigned p[N][2];
    pack<T>(p, s);
    multiply_add(acc, p, tiles.second);
  }

  float factor[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float total = lanes_sum<kRowLanes>(sum[i]);
    factor[i] = a.problem.dropout.inv_keep / total;
    const int at = row + 8 * i;
    if (lane() % 4 == 0 && at < head.positions())
      head.statistics(a.lse)[at] = at < head.length() ? top[i] + logf(total) : head.past_length();
  }
  __syncthreads();
  store_rows<T>(head.out(a.out), acc, factor, tiles.own_first(), head, q0);
}

// delta of the block's 64 queries, to shared and to global memory. own_first holds dout; 8 threads a row.
template <class T, int kDim, Rules kRules>
__device__ __forceinline__ void row_dots(Tiles<T, kDim>& tiles, const Head<kDim, kRules>& head, HeadRows<const T> out,
                                         float* delta, int begin) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = i * 16 + int(threadIdx.x) / 8;
    float sum = 0.0f;
#pragma unroll
    for (int group = 0; group < kDim; group += 64) {
      const int column = group + int(threadIdx.x) % 8 * 8;
      if (begin + row >= head.length() || column >= head.width()) continue;
      const uint4 left = load16(out.at(begin + row) + column), right = load16(&tiles.own_first()[row][column]);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float2 x = unpack_pair<T>(reinterpret_cast<const unsigned*>(&left)[e]),
                     y = unpack_pair<T>(reinterpret_cast<const unsigned*>(&right)[e]);
        sum += x.x * y.x + x.y * y.y;
      }
    }
    sum = lanes_sum<8>(sum);
    if (threadIdx.x % 8 == 0) {
      tiles.delta[row] = sum;
      if (begin + row < head.length()) delta[begin + row] = sum;
    }
  }
}

// Writes delta too, which dkv_kernel reads. Unless bounded, ptxas aims at three resident blocks of the widest and
// spills on sm_90.
template <class T, int kDim, Rules kRules>
__global__ void __launch_bounds__(kThreads, kOwnInRegisters<kDim> ? 0 : 1) dq_kernel(AttentionBackwardArgs<T> a) {
  constexpr int N = kKeys<kDim> / 8;
  auto& tiles = shared_memory<Tiles<T, kDim>>();
  const Head<kDim, kRules> head(a.problem);
  const HeadDropout<kRules> dropout(a.problem);
  const int q0 = first_own_query<kOwnRows>(), row = q0 + own_row();
  const HeadRows<const T> k = head.qkv(a.qkv, Part::key), v = head.qkv(a.qkv, Part::value);
  load_rows<kThreads, kOwnRows>(tiles.own_first(), head, head.out(a.dout), q0);
  load_rows<kThreads, kOwnRows>(tiles.own_second(), head, head.qkv(a.qkv, Part::query), q0);
  __syncthreads();
  row_dots(tiles, head, head.out(a.out), head.statistics(a.delta), q0);
  const OwnRows<T, kDim> dout(tiles.own_first()), q(tiles.own_second());
  __syncthreads();
  float lse[2], delta[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    lse[i] = row + 8 * i < head.length() ? head.statistics(a.lse)[row + 8 * i] : 0.0f;
    delta[i] = tiles.delta[own_row() + 8 * i];
  }

  Output<kDim> acc = {};
  for (int k0 = 0; k0 < head.keys_end(q0, kOwnRows); k0 += kKeys<kDim>) {
    __syncthreads();
    load_rows<kThreads, kKeys<kDim>>(tiles.first, head, k, k0);
    load_rows<kThreads, kKeys<kDim>>(tiles.second, head, v, k0);
    __syncthreads();
    float s[N][4], dp[N][4];
    multiply_transposed(s, q, tiles.first);
    multiply_transposed(dp, dout, tiles.second);
#pragma unroll
    for (int jj = 0; jj < N; jj += 2)
#pragma unroll
      for (int column = 0; column < 2; ++column) {
        const int key = k0 + jj * 8 + first_column() + column;
        const KeptQuad kept = dropout.quad(row, key);
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            const int e = 2 * i + column;
            float& sij = s[jj + h][e];
            const float p = key + 8 * h <= head.last_key(row + 8 * i) ? __expf(sij * head.scale() - lse[i]) : 0.0f;
            sij = p * ((kept.at(i, h) ? dp[jj + h][e] * a.problem.dropout.inv_keep : 0.0f) - delta[i]);
          }
      }
    unsigned ds[N][2];
    pack<T>(ds, s);
    multiply_add(acc, ds, tiles.first);
  }
  __syncthreads();
  store_rows<T>(head.qkv(a.dqkv, Part::query), acc, {head.scale(), head.scale()}, tiles.own_first(), head, q0);
}

// Bounded as dq_kernel is: else nvcc 12.4 spills on sm_90 where heads are 128 wide.
template <class T, int kDim, Rules kRules>
__global__ void __launch_bounds__(kThreads, kOwnInRegisters<kDim> ? 0 : 1) dkv_kernel(AttentionBackwardArgs<T> a) {
  constexpr int N = kQueries / 8;
  auto& tiles = shared_memory<Tiles<T, kDim>>();
  const Head<kDim, kRules> head(a.problem);
  const HeadDropout<kRules> dropout(a.problem);
  const int k0 = first_own_key<kOwnRows>(), row = k0 + own_row();
  const HeadRows<const T> q = head.qkv(a.qkv, Part::query), dout = head.out(a.dout);
  load_rows<kThreads, kOwnRows>(tiles.own_first(), head, head.qkv(a.qkv, Part::key), k0);
  load_rows<kThreads, kOwnRows>(tiles.own_second(), head, head.qkv(a.qkv, Part::value), k0);
  __syncthreads();
  const OwnRows<T, kDim> k(tiles.own_first()), v(tiles.own_second());

  Output<kDim> dk = {}, dv = {};
  for (int q0 = head.queries_begin(k0); q0 < head.length(); q0 += kQueries) {
    __syncthreads();
    load_rows<kThreads, kQueries>(tiles.first, head, q, q0);
    load_rows<kThreads, kQueries>(tiles.second, head, dout, q0);
    if (threadIdx.x < kQueries) {
      const int query = q0 + int(threadIdx.x);
      tiles.lse[threadIdx.x] = query < head.length() ? head.statistics(a.lse)[query] : 0.0f;
      tiles.delta[threadIdx.x] = query < head.length() ? head.statistics(a.delta)[query] : 0.0f;
    }
    __syncthreads();
    float s[N][4], dp[N][4];  // transposed: rows are keys
    multiply_transposed(s, k, tiles.first);
    multiply_transposed(dp, v, tiles.second);
#pragma unroll
    for (int jj = 0; jj < N; jj += 2)
#pragma unroll
      for (int column = 0; column < 2; ++column) {
        const int local = jj * 8 + first_column() + column;
        const KeptQuad kept = dropout.quad(q0 + local, row);
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const int query = q0 + local + 8 * h;
          const float lse = tiles.lse[local + 8 * h], delta = tiles.delta[local + 8 * h];
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            const int e = 2 * i + column;
            const bool seen = query < head.length() && head.first_query(row + 8 * i) <= query, keep = kept.at(h, i);
            float &sij = s[jj + h][e], &dpij = dp[jj + h][e];
            const float p = seen ? __expf(sij * head.scale() - lse) : 0.0f;
            sij = keep ? p : 0.0f;
            dpij = p * ((keep ? dpij * a.problem.dropout.inv_keep : 0.0f) - delta);
          }
        }
      }
    unsigned packed[N][2];
    pack<T>(packed, s);
    multiply_add(dv, packed, tiles.second);
    pack<T>(packed, dp);
    multiply_add(dk, packed, tiles.first);
  }
  __syncthreads();
  const float scale = head.scale(), inv_keep = a.problem.dropout.inv_keep;
  store_rows<T>(head.qkv(a.dqkv, Part::key), dk, {scale, scale}, tiles.own_first(), head, k0);
  store_rows<T>(head.qkv(a.dqkv, Part::value), dv, {inv_keep, inv_keep}, tiles.own_second(), head, k0);
}

// f(Variant, shape(name)) of the kernel that runs.
template <class T, class F>
void with_kernel(const AttentionProblem& a, F f) {
  with_variant<32, 64, 96, 128>(a, [&]<class V>(V variant) {
    f(variant,
      [&](const char* name) { return attention_shape(name, a, kOwnRows, kThreads, sizeof(Tiles<T, V::kDim>)); });
  });
}

template <class T>
void run(const Stream& stream, const char* name, const AttentionForwardArgs<T>& a) {
  with_kernel<T>(a.problem, [&]<class V>(V, auto shape) {
    launch(stream, shape(name), forward_kernel<T, V::kDim, V::kRules>, a);
  });
}

template <class T>
void run(const Stream& stream, const char* dq, const char* dkv, const AttentionBackwardArgs<T>& a) {
  with_kernel<T>(a.problem, [&]<class V>(V, auto shape) {
    launch(stream, shape(dq), dq_kernel<T, V::kDim, V::kRules>, a);
    launch(stream, shape(dkv), dkv_kernel<T, V::kDim, V::kRules>, a);
  });
}

}  // namespace

void launch_attention(const Stream& stream, const AttentionForwardArgs<half>& a) {
  run(stream, "attention_forward_f16", a);
}
void launch_attention(const Stream& stream, const AttentionForwardArgs<bfloat16>& a) {
  run(stream, "attention_forward_bf16", a);
}
void launch_attention(const Stream& stream, const AttentionBackwardArgs<half>& a) {
  run(stream, "attention_dq_f16", "attention_dkv_f16", a);
}
void launch_attention(const Stream& stream, const AttentionBackwardArgs<bfloat16>& a) {
  run(stream, "attention_dq_bf16", "attention_dkv_bf16", a);
}

}  // namespace ddp::cuda
