// Attention in f16 and bf16 with f32 sums, on tensor cores, T the type of 16 bits. A block of 4 warps owns 64 rows, 16
// a warp, whose operands stay in registers as A fragments; tiles of other rows pass through shared memory. Scores come
// out of mma as C fragments, become probabilities or gradients in place, and go into the next product as its A
// fragments. No cp.async, no larger mma: sm_75 has neither. See mma.cuh for which lane owns what.
//
// Legend: attention.cuh. own, other: the block's rows and those of the tile; g = lane / 4, t = lane % 4.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/mma.cuh"

namespace ddp::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kRowLanes = 4;           // that share own rows: t = 0 ... 3
constexpr int kSteps = kHeadDim / 8;   // blocks of 8 columns of D: k-steps of a score, n-blocks of an output
constexpr int kStride = kHeadDim + 8;  // ldmatrix reads 8 rows of 16 bytes: 144-byte rows lie in all 32 banks

template <class T>
using Tile = T[kOwnRows][kStride];

template <class T>
struct Tiles {
  alignas(16) Tile<T> first, second;
  float lse[kOwnRows], delta[kOwnRows];
};

using Rows = unsigned[kSteps][2];  // A fragments of 16 rows of D
using Output = float[kSteps][4];   // C fragments of 16 rows of D

__device__ __forceinline__ int lane() { return int(threadIdx.x) % kWarp; }
__device__ __forceinline__ int warp_row() { return int(threadIdx.x) / kWarp * 16; }
__device__ __forceinline__ int own_row() { return warp_row() + lane() / 4; }  // of c[0], c[1]; c[2], c[3] are 8 below
__device__ __forceinline__ int first_column() { return lane() % 4 * 2; }  // of c[0], c[2]; c[1], c[3] are next to it

template <class T>
__device__ __forceinline__ void load_own(Rows& a, const Tile<T>& tile) {
#pragma unroll
  for (int s = 0; s < kSteps; s += 2) {
    unsigned r[4];
    ldmatrix_x4(r, &tile[warp_row() + lane() % 16][s * 8 + lane() / 16 * 8]);
    a[s][0] = r[0], a[s][1] = r[1], a[s + 1][0] = r[2], a[s + 1][1] = r[3];
  }
}

// c (16 x 8 N) = a (16 x D) other^T, other: 8 N rows.
template <int N, class T>
__device__ __forceinline__ void multiply_transposed(float (&c)[N][4], const Rows& a, const Tile<T>& other) {
#pragma unroll
  for (int j = 0; j < N; ++j)
#pragma unroll
    for (int e = 0; e < 4; ++e) c[j][e] = 0.0f;
#pragma unroll
  for (int s = 0; s < kSteps; ++s) {
    unsigned b[N];
#pragma unroll
    for (int j = 0; j < N; j += 4) {
      unsigned r[4];
      ldmatrix_x4(r, &other[j * 8 + lane()][s * 8]);
      b[j] = r[0], b[j + 1] = r[1], b[j + 2] = r[2], b[j + 3] = r[3];
    }
    mma_row<T>(c, a[s], b);
  }
}

// acc (16 x D) += p (16 x 8 N) other, other: 8 N rows.
template <int N, class T>
__device__ __forceinline__ void multiply_add(Output& acc, const unsigned (&p)[N][2], const Tile<T>& other) {
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

// Rows [begin, begin + 64) of a head = factor * acc, by way of the warp's own rows of `tile`, which no warp reads any
// more: 16-byte stores. factor[i] belongs to row own_row() + 8 i.
template <class T>
__device__ __forceinline__ void store_rows(HeadRows<T> to, const Output& acc, const float (&factor)[2], Tile<T>& tile,
                                           int begin, int t) {
#pragma unroll
  for (int j = 0; j < kSteps; ++j)
#pragma unroll
    for (int i = 0; i < 2; ++i)
      *reinterpret_cast<unsigned*>(&tile[own_row() + 8 * i][j * 8 + first_column()]) =
          pack_pair<T>(factor[i] * acc[j][2 * i], factor[i] * acc[j][2 * i + 1]);
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = warp_row() + 4 * i + lane() / 8, column = lane() % 8 * 8;
    if (begin + row < t) store16(to.at(begin + row) + column, load16(&tile[row][column]));
  }
}

template <class T, bool kDropout>
__global__ void __launch_bounds__(kThreads) forward_kernel(AttentionForwardArgs<T> a) {
  constexpr int kKeys = 64, N = kKeys / 8;
  auto& tiles = shared_memory<Tiles<T>>();
  const int q0 = first_own_query(), row = q0 + own_row();
  const HeadRows<const T> k = qkv_rows(a.qkv, Part::key, a.t, a.heads), v = qkv_rows(a.qkv, Part::value, a.t, a.heads);
  const HeadDropout<kDropout> dropout(a.dropout, a.heads);
  load_rows<kThreads, kOwnRows>(tiles.first, qkv_rows(a.qkv, Part::query, a.t, a.heads), q0, a.t);
  __syncthreads();
  Rows q;
  load_own(q, tiles.first);

  Output acc = {};
  float top[2] = {-INFINITY, -INFINITY}, sum[2] = {};  // sum: of this lane's keys
  for (int k0 = 0; k0 < min(a.t, q0 + kOwnRows); k0 += kKeys) {
    __syncthreads();
    load_rows<kThreads, kKeys>(tiles.first, k, k0, a.t);
    load_rows<kThreads, kKeys>(tiles.second, v, k0, a.t);
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
          const bool seen = k0 + j * 8 + first_column() + e % 2 <= row + 8 * i;
          s[j][e] = seen ? s[j][e] * kScoreScale : -INFINITY;
          tile_top = fmaxf(tile_top, s[j][e]);
        }
      // Finite from the first tile on: key 0 is seen by every query.
      const float new_top = fmaxf(top[i], lanes_max<kRowLanes>(tile_top));
      rescale[i] = __expf(top[i] - new_top);
      top[i] = new_top;
      sum[i] *= rescale[i];
    }
#pragma unroll
    for (int j = 0; j < kSteps; ++j)
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
    factor[i] = a.dropout.inv_keep / total;
    if (lane() % 4 == 0 && row + 8 * i < a.t) a.lse[int64_t(blockIdx.x) * a.t + row + 8 * i] = top[i] + logf(total);
  }
  __syncthreads();
  store_rows(out_rows(a.out, a.t, a.heads), acc, factor, tiles.first, q0, a.t);
}

// delta of the block's 64 queries, to shared and to global memory. tiles.first holds dout; 8 threads a row.
template <class T>
__device__ __forceinline__ void row_dots(Tiles<T>& tiles, HeadRows<const T> out, float* delta, int begin, int t) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = i * 16 + int(threadIdx.x) / 8, column = int(threadIdx.x) % 8 * 8;
    float sum = 0.0f;
    if (begin + row < t) {
      const uint4 left = load16(out.at(begin + row) + column), right = load16(&tiles.first[row][column]);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float2 x = unpack_pair<T>(reinterpret_cast<const unsigned*>(&left)[e]),
                     y = unpack_pair<T>(reinterpret_cast<const unsigned*>(&right)[e]);
        sum += x.x * y.x + x.y * y.y;
      }
    }
    sum = lanes_sum<8>(sum);
    if (column == 0) {
      tiles.delta[row] = sum;
      if (begin + row < t) delta[begin + row] = sum;
    }
  }
}

// Writes delta too, which dkv_kernel reads.
template <class T, bool kDropout>
__global__ void __launch_bounds__(kThreads) dq_kernel(AttentionBackwardArgs<T> a) {
  constexpr int kKeys = 64, N = kKeys / 8;
  auto& tiles = shared_memory<Tiles<T>>();
  const int q0 = first_own_query(), row = q0 + own_row();
  const HeadRows<const T> k = qkv_rows(a.qkv, Part::key, a.t, a.heads), v = qkv_rows(a.qkv, Part::value, a.t, a.heads);
  const HeadDropout<kDropout> dropout(a.dropout, a.heads);
  const int64_t head_row = int64_t(blockIdx.x) * a.t;
  load_rows<kThreads, kOwnRows>(tiles.first, out_rows(a.dout, a.t, a.heads), q0, a.t);
  load_rows<kThreads, kOwnRows>(tiles.second, qkv_rows(a.qkv, Part::query, a.t, a.heads), q0, a.t);
  __syncthreads();
  row_dots(tiles, out_rows(a.out, a.t, a.heads), a.delta + head_row, q0, a.t);
  Rows dout, q;
  load_own(dout, tiles.first);
  load_own(q, tiles.second);
  __syncthreads();
  float lse[2], delta[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    lse[i] = row + 8 * i < a.t ? a.lse[head_row + row + 8 * i] : 0.0f;
    delta[i] = tiles.delta[own_row() + 8 * i];
  }

  Output acc = {};
  for (int k0 = 0; k0 < min(a.t, q0 + kOwnRows); k0 += kKeys) {
    __syncthreads();
    load_rows<kThreads, kKeys>(tiles.first, k, k0, a.t);
    load_rows<kThreads, kKeys>(tiles.second, v, k0, a.t);
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
            const float p = key + 8 * h <= row + 8 * i ? __expf(sij * kScoreScale - lse[i]) : 0.0f;
            sij = p * ((kept.at(i, h) ? dp[jj + h][e] * a.dropout.inv_keep : 0.0f) - delta[i]);
          }
      }
    unsigned ds[N][2];
    pack<T>(ds, s);
    multiply_add(acc, ds, tiles.first);
  }
  __syncthreads();
  store_rows(qkv_rows(a.dqkv, Part::query, a.t, a.heads), acc, {kScoreScale, kScoreScale}, tiles.first, q0, a.t);
}

// 32 queries at a time: with 64 the two accumulators and both score tiles would not fit in 255 registers.
template <class T, bool kDropout>
__global__ void __launch_bounds__(kThreads) dkv_kernel(AttentionBackwardArgs<T> a) {
  constexpr int kQueries = 32, N = kQueries / 8;
  auto& tiles = shared_memory<Tiles<T>>();
  const int k0 = first_own_key(), row = k0 + own_row();
  const HeadRows<const T> q = qkv_rows(a.qkv, Part::query, a.t, a.heads), dout = out_rows(a.dout, a.t, a.heads);
  const HeadDropout<kDropout> dropout(a.dropout, a.heads);
  const int64_t head_row = int64_t(blockIdx.x) * a.t;
  load_rows<kThreads, kOwnRows>(tiles.first, qkv_rows(a.qkv, Part::key, a.t, a.heads), k0, a.t);
  load_rows<kThreads, kOwnRows>(tiles.second, qkv_rows(a.qkv, Part::value, a.t, a.heads), k0, a.t);
  __syncthreads();
  Rows k, v;
  load_own(k, tiles.first);
  load_own(v, tiles.second);

  Output dk = {}, dv = {};
  for (int q0 = k0; q0 < a.t; q0 += kQueries) {
    __syncthreads();
    load_rows<kThreads, kQueries>(tiles.first, q, q0, a.t);
    load_rows<kThreads, kQueries>(tiles.second, dout, q0, a.t);
    if (threadIdx.x < kQueries) {
      const int query = q0 + int(threadIdx.x);
      tiles.lse[threadIdx.x] = query < a.t ? a.lse[head_row + query] : 0.0f;
      tiles.delta[threadIdx.x] = query < a.t ? a.delta[head_row + query] : 0.0f;
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
            const bool seen = query < a.t && row + 8 * i <= query, keep = kept.at(h, i);
            float &sij = s[jj + h][e], &dpij = dp[jj + h][e];
            const float p = seen ? __expf(sij * kScoreScale - lse) : 0.0f;
            sij = keep ? p : 0.0f;
            dpij = p * ((keep ? dpij * a.dropout.inv_keep : 0.0f) - delta);
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
  store_rows(qkv_rows(a.dqkv, Part::key, a.t, a.heads), dk, {kScoreScale, kScoreScale}, tiles.first, k0, a.t);
  store_rows(qkv_rows(a.dqkv, Part::value, a.t, a.heads), dv, {a.dropout.inv_keep, a.dropout.inv_keep}, tiles.second,
             k0, a.t);
}

template <class T>
void run(const Stream& stream, int samples, bool dropout, const char* name, const AttentionForwardArgs<T>& a) {
  launch(stream, attention_shape(name, samples, a, kThreads, sizeof(Tiles<T>)),
         dropout ? forward_kernel<T, true> : forward_kernel<T, false>, a);
}

template <class T>
void run(const Stream& stream, int samples, bool dropout, const char* dq, const char* dkv,
         const AttentionBackwardArgs<T>& a) {
  launch(stream, attention_shape(dq, samples, a, kThreads, sizeof(Tiles<T>)),
         dropout ? dq_kernel<T, true> : dq_kernel<T, false>, a);
  launch(stream, attention_shape(dkv, samples, a, kThreads, sizeof(Tiles<T>)),
         dropout ? dkv_kernel<T, true> : dkv_kernel<T, false>, a);
}

}  // namespace

void launch_attention(const Stream& stream, int samples, bool dropout, const AttentionForwardArgs<half>& a) {
  run(stream, samples, dropout, "attention_forward_f16", a);
}
void launch_attention(const Stream& stream, int samples, bool dropout, const AttentionForwardArgs<bfloat16>& a) {
  run(stream, samples, dropout, "attention_forward_bf16", a);
}
void launch_attention(const Stream& stream, int samples, bool dropout, const AttentionBackwardArgs<half>& a) {
  run(stream, samples, dropout, "attention_dq_f16", "attention_dkv_f16", a);
}
void launch_attention(const Stream& stream, int samples, bool dropout, const AttentionBackwardArgs<bfloat16>& a) {
  run(stream, samples, dropout, "attention_dq_bf16", "attention_dkv_bf16", a);
}

}  // namespace ddp::cuda
