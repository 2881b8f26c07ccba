// Attention in f32, on the ordinary cores. A block of 256 threads owns 64 rows and takes 32 other rows at a time; the
// two score-like products of a tile (64 x 32) and the products with D columns (64 x 64) are register tiles of 4 x 2 and
// 4 x 4 a thread, read from shared memory 16 bytes at a time. Probabilities pass through shared memory from the threads
// that hold the 4 x 2 to those that multiply by them: the same half-warp, so a __syncwarp is enough.
//
// Legend: attention.cuh. own, other: the block's rows and those of the tile; s scores, p probabilities.
#include "kernels/cuda/attention.cuh"

namespace ddp::cuda {
namespace {

constexpr int kThreads = 256, kOtherRows = 32;
constexpr int kRows = 4, kOthers = 2, kColumns = 4;  // of a thread: own rows, other rows, columns of D
constexpr int kRowLanes = 16;                        // that share own rows

// Row strides that spread 8 neighbouring rows, read or written by a quarter-warp, over all banks.
using OwnTile = float[kOwnRows][kHeadDim + 4];
using OtherTile = float[kOtherRows][kHeadDim + 4];
using ScoreTile = float[kOwnRows][kOtherRows + 8];

struct ForwardTiles {
  alignas(16) OwnTile q;
  OtherTile k, v;
  ScoreTile p;
};

// dq: own are q and dout, other are k and v. dk, dv: own are k and v, other are q and dout. Scores are in either case
// the product of the firsts, and their gradients that of the seconds.
struct BackwardTiles {
  alignas(16) OwnTile own_first, own_second;
  OtherTile other_first, other_second;
  ScoreTile scores;
};
static_assert(sizeof(BackwardTiles) <= 64 * 1024, "sm_75 has 64 KB for a block");

// A thread's rows come in pairs 8 apart, as dropout's words do.
__device__ __forceinline__ int own_row(int i) {
  const int y = int(threadIdx.x) / kRowLanes;
  return y / 8 * 32 + y % 8 + 8 * i;
}
__device__ __forceinline__ int other_row(int j) {
  const int x = int(threadIdx.x) % kRowLanes;
  return x / 8 * 16 + x % 8 + 8 * j;
}
__device__ __forceinline__ int first_column() { return int(threadIdx.x) % kRowLanes * kColumns; }

template <int kStride>
__device__ __forceinline__ float4 load4(const float (&row)[kStride], int column) {
  return *reinterpret_cast<const float4*>(&row[column]);
}

__device__ __forceinline__ float dot(float4 a, float4 b) { return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w; }

// s (own, other) = a b^T: this thread's elements (own_row(i), other_row(j)).
__device__ __forceinline__ void multiply_transposed(float (&s)[kRows][kOthers], const OwnTile& a, const OtherTile& b) {
#pragma unroll
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int j = 0; j < kOthers; ++j) s[i][j] = 0.0f;
#pragma unroll 4
  for (int d = 0; d < kHeadDim; d += 4) {
    float4 bd[kOthers];
#pragma unroll
    for (int j = 0; j < kOthers; ++j) bd[j] = load4(b[other_row(j)], d);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const float4 ad = load4(a[own_row(i)], d);
#pragma unroll
      for (int j = 0; j < kOthers; ++j) s[i][j] += dot(ad, bd[j]);
    }
  }
}

// acc (own, D) += p b: this thread's elements (own_row(i), first_column() + c).
__device__ __forceinline__ void multiply_add(float (&acc)[kRows][kColumns], const ScoreTile& p, const OtherTile& b) {
#pragma unroll 2
  for (int k = 0; k < kOtherRows; k += 4) {
    float4 bk[4];
#pragma unroll
    for (int l = 0; l < 4; ++l) bk[l] = load4(b[k + l], first_column());
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const float4 pk = load4(p[own_row(i)], k);
      const float weight[4] = {pk.x, pk.y, pk.z, pk.w};
#pragma unroll
      for (int l = 0; l < 4; ++l) {
        acc[i][0] += weight[l] * bk[l].x;
        acc[i][1] += weight[l] * bk[l].y;
        acc[i][2] += weight[l] * bk[l].z;
        acc[i][3] += weight[l] * bk[l].w;
      }
    }
  }
}

// Hands this half-warp's rows of scores to its own multiply_add: the reads of the one before are over, the writes of
// this one seen.
__device__ __forceinline__ void share(ScoreTile& tile, const float (&s)[kRows][kOthers]) {
  __syncwarp();
#pragma unroll
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int j = 0; j < kOthers; ++j) tile[own_row(i)][other_row(j)] = s[i][j];
  __syncwarp();
}

// Rows [begin, begin + 64) of a head = factor[i] * acc, those before position t.
__device__ __forceinline__ void store_rows(HeadRows<float> to, const float (&acc)[kRows][kColumns],
                                           const float (&factor)[kRows], int begin, int t) {
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int row = begin + own_row(i);
    const float f = factor[i];
    if (row < t)
      *reinterpret_cast<float4*>(to.at(row) + first_column()) =
          make_float4(f * acc[i][0], f * acc[i][1], f * acc[i][2], f * acc[i][3]);
  }
}

__device__ __forceinline__ void store_rows(HeadRows<float> to, const float (&acc)[kRows][kColumns], float factor,
                                           int begin, int t) {
  store_rows(to, acc, {factor, factor, factor, factor}, begin, t);
}

template <bool kDropout>
__global__ void __launch_bounds__(kThreads, 1) forward_kernel(AttentionForwardArgs<float> a) {
  auto& tiles = shared_memory<ForwardTiles>();
  const int q0 = first_own_query();
  const HeadRows<const float> q = qkv_rows(a.qkv, Part::query, a.t, a.heads),
                              k = qkv_rows(a.qkv, Part::key, a.t, a.heads),
                              v = qkv_rows(a.qkv, Part::value, a.t, a.heads);
  const HeadDropout<kDropout> dropout(a.dropout, a.heads);
  float acc[kRows][kColumns] = {}, top[kRows], sum[kRows] = {};  // sum: of this thread's keys
#pragma unroll
  for (int i = 0; i < kRows; ++i) top[i] = -INFINITY;

  load_rows<kThreads, kOwnRows>(tiles.q, q, q0, a.t);
  for (int k0 = 0; k0 < min(a.t, q0 + kOwnRows); k0 += kOtherRows) {
    __syncthreads();
    load_rows<kThreads, kOtherRows>(tiles.k, k, k0, a.t);
    load_rows<kThreads, kOtherRows>(tiles.v, v, k0, a.t);
    __syncthreads();
    float s[kRows][kOthers];
    multiply_transposed(s, tiles.q, tiles.k);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      float tile_top = -INFINITY;
#pragma unroll
      for (int j = 0; j < kOthers; ++j) {
        s[i][j] = k0 + other_row(j) <= q0 + own_row(i) ? s[i][j] * kScoreScale : -INFINITY;
        tile_top = fmaxf(tile_top, s[i][j]);
      }
      // Finite from the first tile on: key 0 is seen by every query.
      const float new_top = fmaxf(top[i], lanes_max<kRowLanes>(tile_top)), rescale = expf(top[i] - new_top);
      top[i] = new_top;
      sum[i] *= rescale;
#pragma unroll
      for (int c = 0; c < kColumns; ++c) acc[i][c] *= rescale;
    }
    const KeptQuad kept[kRows / 2] = {dropout.quad(q0 + own_row(0), k0 + other_row(0)),
                                      dropout.quad(q0 + own_row(2), k0 + other_row(0))};
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int j = 0; j < kOthers; ++j) {
        const float p = expf(s[i][j] - top[i]);
        sum[i] += p;
        s[i][j] = kept[i / 2].at(i % 2, j) ? p : 0.0f;
      }
    }
    share(tiles.p, s);
    multiply_add(acc, tiles.p, tiles.v);
  }

  float factor[kRows];
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const float total = lanes_sum<kRowLanes>(sum[i]);
    const int row = q0 + own_row(i);
    factor[i] = a.dropout.inv_keep / total;
    if (first_column() == 0 && row < a.t) a.lse[int64_t(blockIdx.x) * a.t + row] = top[i] + logf(total);
  }
  store_rows(out_rows(a.out, a.t, a.heads), acc, factor, q0, a.t);
}

// Writes delta too, which dkv_kernel reads.
template <bool kDropout>
__global__ void __launch_bounds__(kThreads, 1) dq_kernel(AttentionBackwardArgs<float> a) {
  auto& tiles = shared_memory<BackwardTiles>();
  const int q0 = first_own_query();
  const HeadRows<const float> k = qkv_rows(a.qkv, Part::key, a.t, a.heads),
                              v = qkv_rows(a.qkv, Part::value, a.t, a.heads), out = out_rows(a.out, a.t, a.heads);
  const HeadDropout<kDropout> dropout(a.dropout, a.heads);
  load_rows<kThreads, kOwnRows>(tiles.own_first, qkv_rows(a.qkv, Part::query, a.t, a.heads), q0, a.t);
  load_rows<kThreads, kOwnRows>(tiles.own_second, out_rows(a.dout, a.t, a.heads), q0, a.t);
  __syncthreads();

  float acc[kRows][kColumns] = {}, lse[kRows], delta[kRows];
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int row = q0 + own_row(i);
    const int64_t at = int64_t(blockIdx.x) * a.t + row;
    float mine = 0.0f;
    if (row < a.t)
      mine = dot(*reinterpret_cast<const float4*>(out.at(row) + first_column()),
                 load4(tiles.own_second[own_row(i)], first_column()));
    delta[i] = lanes_sum<kRowLanes>(mine);
    lse[i] = row < a.t ? a.lse[at] : 0.0f;
    if (first_column() == 0 && row < a.t) a.delta[at] = delta[i];
  }

  for (int k0 = 0; k0 < min(a.t, q0 + kOwnRows); k0 += kOtherRows) {
    __syncthreads();
    load_rows<kThreads, kOtherRows>(tiles.other_first, k, k0, a.t);
    load_rows<kThreads, kOtherRows>(tiles.other_second, v, k0, a.t);
    __syncthreads();
    float s[kRows][kOthers], dp[kRows][kOthers];
    multiply_transposed(s, tiles.own_first, tiles.other_first);
    multiply_transposed(dp, tiles.own_second, tiles.other_second);
    const KeptQuad kept[kRows / 2] = {dropout.quad(q0 + own_row(0), k0 + other_row(0)),
                                      dropout.quad(q0 + own_row(2), k0 + other_row(0))};
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int j = 0; j < kOthers; ++j) {
        const bool seen = k0 + other_row(j) <= q0 + own_row(i);
        const float p = seen ? expf(s[i][j] * kScoreScale - lse[i]) : 0.0f;
        s[i][j] = p * ((kept[i / 2].at(i % 2, j) ? dp[i][j] * a.dropout.inv_keep : 0.0f) - delta[i]);
      }
    }
    share(tiles.scores, s);
    multiply_add(acc, tiles.scores, tiles.other_first);
  }
  store_rows(qkv_rows(a.dqkv, Part::query, a.t, a.heads), acc, kScoreScale, q0, a.t);
}

template <bool kDropout>
__global__ void __launch_bounds__(kThreads, 1) dkv_kernel(AttentionBackwardArgs<float> a) {
  auto& tiles = shared_memory<BackwardTiles>();
  const int k0 = first_own_key();
  const HeadRows<const float> q = qkv_rows(a.qkv, Part::query, a.t, a.heads), dout = out_rows(a.dout, a.t, a.heads);
  const HeadDropout<kDropout> dropout(a.dropout, a.heads);
  load_rows<kThreads, kOwnRows>(tiles.own_first, qkv_rows(a.qkv, Part::key, a.t, a.heads), k0, a.t);
  load_rows<kThreads, kOwnRows>(tiles.own_second, qkv_rows(a.qkv, Part::value, a.t, a.heads), k0, a.t);

  float dk[kRows][kColumns] = {}, dv[kRows][kColumns] = {};
  for (int q0 = k0; q0 < a.t; q0 += kOtherRows) {
    __syncthreads();
    load_rows<kThreads, kOtherRows>(tiles.other_first, q, q0, a.t);
    load_rows<kThreads, kOtherRows>(tiles.other_second, dout, q0, a.t);
    __syncthreads();
    float p[kRows][kOthers], ds[kRows][kOthers];  // transposed: rows are keys
    multiply_transposed(p, tiles.own_first, tiles.other_first);
    multiply_transposed(ds, tiles.own_second, tiles.other_second);
    const KeptQuad kept[kRows / 2] = {dropout.quad(q0 + other_row(0), k0 + own_row(0)),
                                      dropout.quad(q0 + other_row(0), k0 + own_row(2))};
#pragma unroll
    for (int j = 0; j < kOthers; ++j) {
      const int row = q0 + other_row(j);
      const int64_t at = int64_t(blockIdx.x) * a.t + row;
      const float lse = row < a.t ? a.lse[at] : 0.0f, delta = row < a.t ? a.delta[at] : 0.0f;
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const bool seen = row < a.t && k0 + own_row(i) <= row;
        const bool keep = kept[i / 2].at(j, i % 2);
        const float pij = seen ? expf(p[i][j] * kScoreScale - lse) : 0.0f;
        p[i][j] = keep ? pij : 0.0f;
        ds[i][j] = pij * ((keep ? ds[i][j] * a.dropout.inv_keep : 0.0f) - delta);
      }
    }
    share(tiles.scores, p);
    multiply_add(dv, tiles.scores, tiles.other_second);
    share(tiles.scores, ds);
    multiply_add(dk, tiles.scores, tiles.other_first);
  }
  store_rows(qkv_rows(a.dqkv, Part::key, a.t, a.heads), dk, kScoreScale, k0, a.t);
  store_rows(qkv_rows(a.dqkv, Part::value, a.t, a.heads), dv, a.dropout.inv_keep, k0, a.t);
}

}  // namespace

void launch_attention(const Stream& stream, int samples, bool dropout, const AttentionForwardArgs<float>& a) {
  launch(stream, attention_shape("attention_forward_f32", samples, a, kThreads, sizeof(ForwardTiles)),
         dropout ? forward_kernel<true> : forward_kernel<false>, a);
}

void launch_attention(const Stream& stream, int samples, bool dropout, const AttentionBackwardArgs<float>& a) {
  launch(stream, attention_shape("attention_dq_f32", samples, a, kThreads, sizeof(BackwardTiles)),
         dropout ? dq_kernel<true> : dq_kernel<false>, a);
  launch(stream, attention_shape("attention_dkv_f32", samples, a, kThreads, sizeof(BackwardTiles)),
         dropout ? dkv_kernel<true> : dkv_kernel<false>, a);
}

}  // namespace ddp::cuda
