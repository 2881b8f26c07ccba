// Attention in f32, on the ordinary cores. A block owns 64 rows and takes 32 other rows at a time (of heads wider than
// 64: 32 and 16, for shared memory's sake); the two score-like products of a tile and the products with D columns are
// register tiles of a thread, read from shared memory 16 bytes at a time. Probabilities pass through shared memory from
// the threads that hold their scores to those that multiply by them: the same half of a warp or less, so a __syncwarp
// is enough.
//
// Legend: attention.cuh. own, other: the block's rows and those of the tile; s scores, p probabilities.
#include "kernels/cuda/attention.cuh"

namespace ddp::cuda {
namespace {

// How a block divides its work on heads of kDim columns, and the tiles it needs.
template <int kDim>
struct Tiling {
  static constexpr bool kWide = kDim > 64;
  // Of a thread: own rows, other rows, columns of D.
  static constexpr int kRowLanes = kWide ? 8 : 16;  // that share own rows
  static constexpr int kRows = kWide ? 2 : 4, kOthers = 2, kColumns = kDim / kRowLanes;
  static constexpr int kThreads = 16 * kRowLanes, kOwnRows = 16 * kRows, kOtherRows = kOthers * kRowLanes;

  // Row strides that spread 8 neighbouring rows, read or written by a quarter-warp, over all banks.
  using OwnTile = float[kOwnRows][kDim + 4];
  using OtherTile = float[kOtherRows][kDim + 4];
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

  using Scores = float[kRows][kOthers];
  using Output = float[kRows][kColumns];

  // A thread's rows come in pairs 8 apart, as dropout's words do.
  static __device__ __forceinline__ int own_row(int i) {
    const int y = int(threadIdx.x) / kRowLanes;
    return y / 8 * (8 * kRows) + y % 8 + 8 * i;
  }
  static __device__ __forceinline__ int other_row(int j) {
    const int x = int(threadIdx.x) % kRowLanes;
    return x / 8 * 16 + x % 8 + 8 * j;
  }
  static __device__ __forceinline__ bool is_first_of_row() { return int(threadIdx.x) % kRowLanes == 0; }
  // Columns come in groups of four: the first of those that hold this thread's [c, c + 4), c a multiple of 4.
  static __device__ __forceinline__ int column(int c) { return c * kRowLanes + int(threadIdx.x) % kRowLanes * 4; }
};

template <int kStride>
__device__ __forceinline__ float4 load4(const float (&row)[kStride], int column) {
  return *reinterpret_cast<const float4*>(&row[column]);
}

__device__ __forceinline__ float dot(float4 a, float4 b) { return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w; }

// s (own, other) = a b^T: this thread's elements (own_row(i), other_row(j)).
template <int kDim, class Tile = Tiling<kDim>>
__device__ __forceinline__ void multiply_transposed(typename Tile::Scores& s, const typename Tile::OwnTile& a,
                                                    const typename Tile::OtherTile& b) {
#pragma unroll
  for (int i = 0; i < Tile::kRows; ++i)
#pragma unroll
    for (int j = 0; j < Tile::kOthers; ++j) s[i][j] = 0.0f;
#pragma unroll 4
  for (int d = 0; d < kDim; d += 4) {
    float4 bd[Tile::kOthers];
#pragma unroll
    for (int j = 0; j < Tile::kOthers; ++j) bd[j] = load4(b[Tile::other_row(j)], d);
#pragma unroll
    for (int i = 0; i < Tile::kRows; ++i) {
      const float4 ad = load4(a[Tile::own_row(i)], d);
#pragma unroll
      for (int j = 0; j < Tile::kOthers; ++j) s[i][j] += dot(ad, bd[j]);
    }
  }
}

// acc (own, D) += p b: this thread's rows own_row(i) and columns column(c).
template <int kDim, class Tile = Tiling<kDim>>
__device__ __forceinline__ void multiply_add(typename Tile::Output& acc, const typename Tile::ScoreTile& p,
                                             const typename Tile::OtherTile& b) {
#pragma unroll 2
  for (int k = 0; k < Tile::kOtherRows; k += 4) {
#pragma unroll
    for (int c = 0; c < Tile::kColumns; c += 4) {
      float4 bk[4];
#pragma unroll
      for (int l = 0; l < 4; ++l) bk[l] = load4(b[k + l], Tile::column(c));
#pragma unroll
      for (int i = 0; i < Tile::kRows; ++i) {
        const float4 pk = load4(p[Tile::own_row(i)], k);
        const float weight[4] = {pk.x, pk.y, pk.z, pk.w};
#pragma unroll
        for (int l = 0; l < 4; ++l) {
          acc[i][c] += weight[l] * bk[l].x;
          acc[i][c + 1] += weight[l] * bk[l].y;
          acc[i][c + 2] += weight[l] * bk[l].z;
          acc[i][c + 3] += weight[l] * bk[l].w;
        }
      }
    }
  }
}

// Hands the rows of scores of these lanes to their own multiply_add: the reads of the one before are over, the writes
// of this one seen.
template <int kDim, class Tile = Tiling<kDim>>
__device__ __forceinline__ void share(typename Tile::ScoreTile& tile, const typename Tile::Scores& s) {
  __syncwarp();
#pragma unroll
  for (int i = 0; i < Tile::kRows; ++i)
#pragma unroll
    for (int j = 0; j < Tile::kOthers; ++j) tile[Tile::own_row(i)][Tile::other_row(j)] = s[i][j];
  __syncwarp();
}

// The block's rows of a head, from `begin` on, = factor[i] * acc.
template <int kDim, Rules kRules, class Tile = Tiling<kDim>>
__device__ __forceinline__ void store_rows(HeadRows<float> to, const typename Tile::Output& acc,
                                           const float (&factor)[Tile::kRows], const Head<kDim, kRules>& head,
                                           int begin) {
  const float past = head.past_length();
#pragma unroll
  for (int i = 0; i < Tile::kRows; ++i) {
    const int row = begin + Tile::own_row(i);
    const float f = factor[i];
    if (row >= head.positions()) continue;
#pragma unroll
    for (int c = 0; c < Tile::kColumns; c += 4)
      if (Tile::column(c) < head.width())
        *reinterpret_cast<float4*>(to.at(row) + Tile::column(c)) =
            row < head.length() ? make_float4(f * acc[i][c], f * acc[i][c + 1], f * acc[i][c + 2], f * acc[i][c + 3])
                                : make_float4(past, past, past, past);
  }
}

template <int kDim, Rules kRules, class Tile = Tiling<kDim>>
__device__ __forceinline__ void store_rows(HeadRows<float> to, const typename Tile::Output& acc, float factor,
                                           const Head<kDim, kRules>& head, int begin) {
  float factors[Tile::kRows];
#pragma unroll
  for (int i = 0; i < Tile::kRows; ++i) factors[i] = factor;
  store_rows<kDim, kRules>(to, acc, factors, head, begin);
}

template <int kDim, Rules kRules>
__global__ void __launch_bounds__(Tiling<kDim>::kThreads, 1) forward_kernel(AttentionForwardArgs<float> a) {
  using Tile = Tiling<kDim>;
  constexpr int kRows = Tile::kRows, kOthers = Tile::kOthers, kOwnRows = Tile::kOwnRows, kOtherRows = Tile::kOtherRows;
  auto& tiles = shared_memory<typename Tile::ForwardTiles>();
  const Head<kDim, kRules> head(a.problem);
  const HeadDropout<kRules> dropout(a.problem);
  const int q0 = first_own_query<kOwnRows>();
  const HeadRows<const float> q = head.qkv(a.qkv, Part::query), k = head.qkv(a.qkv, Part::key),
                              v = head.qkv(a.qkv, Part::value);
  typename Tile::Output acc = {};
  float top[kRows], sum[kRows] = {};  // sum: of this thread's keys
#pragma unroll
  for (int i = 0; i < kRows; ++i) top[i] = -INFINITY;

  load_rows<Tile::kThreads, kOwnRows>(tiles.q, head, q, q0);
  for (int k0 = 0; k0 < head.keys_end(q0, kOwnRows); k0 += kOtherRows) {
    __syncthreads();
    load_rows<Tile::kThreads, kOtherRows>(tiles.k, head, k, k0);
    load_rows<Tile::kThreads, kOtherRows>(tiles.v, head, v, k0);
    __syncthreads();
    float s[kRows][kOthers];
    multiply_transposed<kDim>(s, tiles.q, tiles.k);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      float tile_top = -INFINITY;
#pragma unroll
      for (int j = 0; j < kOthers; ++j) {
        s[i][j] = k0 + Tile::other_row(j) <= head.last_key(q0 + Tile::own_row(i)) ? s[i][j] * head.scale() : -INFINITY;
        tile_top = fmaxf(tile_top, s[i][j]);
      }
      // Finite from the first tile on: key 0 is seen by every query.
      const float new_top = fmaxf(top[i], lanes_max<Tile::kRowLanes>(tile_top)), rescale = expf(top[i] - new_top);
      top[i] = new_top;
      sum[i] *= rescale;
#pragma unroll
      for (int c = 0; c < Tile::kColumns; ++c) acc[i][c] *= rescale;
    }
    KeptQuad kept[kRows / 2];
#pragma unroll
    for (int i = 0; i < kRows; i += 2) kept[i / 2] = dropout.quad(q0 + Tile::own_row(i), k0 + Tile::other_row(0));
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int j = 0; j < kOthers; ++j) {
        const float p = expf(s[i][j] - top[i]);
        sum[i] += p;
        s[i][j] = kept[i / 2].at(i % 2, j) ? p : 0.0f;
      }
    }
    share<kDim>(tiles.p, s);
    multiply_add<kDim>(acc, tiles.p, tiles.v);
  }

  float factor[kRows];
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const float total = lanes_sum<Tile::kRowLanes>(sum[i]);
    const int row = q0 + Tile::own_row(i);
    factor[i] = a.problem.dropout.inv_keep / total;
    if (Tile::is_first_of_row() && row < head.positions())
      head.statistics(a.lse)[row] = row < head.length() ? top[i] + logf(total) : head.past_length();
  }
  store_rows<kDim, kRules>(head.out(a.out), acc, factor, head, q0);
}

// Writes delta too, which dkv_kernel reads.
template <int kDim, Rules kRules>
__global__ void __launch_bounds__(Tiling<kDim>::kThreads, 1) dq_kernel(AttentionBackwardArgs<float> a) {
  using Tile = Tiling<kDim>;
  constexpr int kRows = Tile::kRows, kOthers = Tile::kOthers, kOwnRows = Tile::kOwnRows, kOtherRows = Tile::kOtherRows;
  auto& tiles = shared_memory<typename Tile::BackwardTiles>();
  const Head<kDim, kRules> head(a.problem);
  const HeadDropout<kRules> dropout(a.problem);
  const int q0 = first_own_query<kOwnRows>();
  const HeadRows<const float> k = head.qkv(a.qkv, Part::key), v = head.qkv(a.qkv, Part::value), out = head.out(a.out);
  load_rows<Tile::kThreads, kOwnRows>(tiles.own_first, head, head.qkv(a.qkv, Part::query), q0);
  load_rows<Tile::kThreads, kOwnRows>(tiles.own_second, head, head.out(a.dout), q0);
  __syncthreads();

  typename Tile::Output acc = {};
  float lse[kRows], delta[kRows];
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int row = q0 + Tile::own_row(i);
    float mine = 0.0f;
#pragma unroll
    for (int c = 0; c < Tile::kColumns; c += 4) {
      const int column = Tile::column(c);
      if (row < head.length() && column < head.width())
        mine += dot(*reinterpret_cast<const float4*>(out.at(row) + column),
                    load4(tiles.own_second[Tile::own_row(i)], column));
    }
    delta[i] = lanes_sum<Tile::kRowLanes>(mine);
    lse[i] = row < head.length() ? head.statistics(a.lse)[row] : 0.0f;
    if (Tile::is_first_of_row() && row < head.length()) head.statistics(a.delta)[row] = delta[i];
  }

  for (int k0 = 0; k0 < head.keys_end(q0, kOwnRows); k0 += kOtherRows) {
    __syncthreads();
    load_rows<Tile::kThreads, kOtherRows>(tiles.other_first, head, k, k0);
    load_rows<Tile::kThreads, kOtherRows>(tiles.other_second, head, v, k0);
    __syncthreads();
    float s[kRows][kOthers], dp[kRows][kOthers];
    multiply_transposed<kDim>(s, tiles.own_first, tiles.other_first);
    multiply_transposed<kDim>(dp, tiles.own_second, tiles.other_second);
    KeptQuad kept[kRows / 2];
#pragma unroll
    for (int i = 0; i < kRows; i += 2) kept[i / 2] = dropout.quad(q0 + Tile::own_row(i), k0 + Tile::other_row(0));
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int j = 0; j < kOthers; ++j) {
        const bool seen = k0 + Tile::other_row(j) <= head.last_key(q0 + Tile::own_row(i));
        const float p = seen ? expf(s[i][j] * head.scale() - lse[i]) : 0.0f;
        s[i][j] = p * ((kept[i / 2].at(i % 2, j) ? dp[i][j] * a.problem.dropout.inv_keep : 0.0f) - delta[i]);
      }
    }
    share<kDim>(tiles.scores, s);
    multiply_add<kDim>(acc, tiles.scores, tiles.other_first);
  }
  store_rows<kDim, kRules>(head.qkv(a.dqkv, Part::query), acc, head.scale(), head, q0);
}

template <int kDim, Rules kRules>
__global__ void __launch_bounds__(Tiling<kDim>::kThreads, 1) dkv_kernel(AttentionBackwardArgs<float> a) {
  using Tile = Tiling<kDim>;
  constexpr int kRows = Tile::kRows, kOthers = Tile::kOthers, kOwnRows = Tile::kOwnRows, kOtherRows = Tile::kOtherRows;
  auto& tiles = shared_memory<typename Tile::BackwardTiles>();
  const Head<kDim, kRules> head(a.problem);
  const HeadDropout<kRules> dropout(a.problem);
  const int k0 = first_own_key<kOwnRows>();
  const HeadRows<const float> q = head.qkv(a.qkv, Part::query), dout = head.out(a.dout);
  load_rows<Tile::kThreads, kOwnRows>(tiles.own_first, head, head.qkv(a.qkv, Part::key), k0);
  load_rows<Tile::kThreads, kOwnRows>(tiles.own_second, head, head.qkv(a.qkv, Part::value), k0);

  typename Tile::Output dk = {}, dv = {};
  for (int q0 = head.queries_begin(k0); q0 < head.length(); q0 += kOtherRows) {
    __syncthreads();
    load_rows<Tile::kThreads, kOtherRows>(tiles.other_first, head, q, q0);
    load_rows<Tile::kThreads, kOtherRows>(tiles.other_second, head, dout, q0);
    __syncthreads();
    float p[kRows][kOthers], ds[kRows][kOthers];  // transposed: rows are keys
    multiply_transposed<kDim>(p, tiles.own_first, tiles.other_first);
    multiply_transposed<kDim>(ds, tiles.own_second, tiles.other_second);
    KeptQuad kept[kRows / 2];
#pragma unroll
    for (int i = 0; i < kRows; i += 2) kept[i / 2] = dropout.quad(q0 + Tile::other_row(0), k0 + Tile::own_row(i));
#pragma unroll
    for (int j = 0; j < kOthers; ++j) {
      const int row = q0 + Tile::other_row(j);
      const float lse = row < head.length() ? head.statistics(a.lse)[row] : 0.0f,
                  delta = row < head.length() ? head.statistics(a.delta)[row] : 0.0f;
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const bool seen = row < head.length() && head.first_query(k0 + Tile::own_row(i)) <= row;
        const bool keep = kept[i / 2].at(j, i % 2);
        const float pij = seen ? expf(p[i][j] * head.scale() - lse) : 0.0f;
        p[i][j] = keep ? pij : 0.0f;
        ds[i][j] = pij * ((keep ? ds[i][j] * a.problem.dropout.inv_keep : 0.0f) - delta);
      }
    }
    share<kDim>(tiles.scores, p);
    multiply_add<kDim>(dv, tiles.scores, tiles.other_second);
    share<kDim>(tiles.scores, ds);
    multiply_add<kDim>(dk, tiles.scores, tiles.other_first);
  }
  store_rows<kDim, kRules>(head.qkv(a.dqkv, Part::key), dk, head.scale(), head, k0);
  store_rows<kDim, kRules>(head.qkv(a.dqkv, Part::value), dv, a.problem.dropout.inv_keep, head, k0);
}

}  // namespace

void launch_attention(const Stream& stream, const AttentionForwardArgs<float>& a) {
  with_variant<64, 128>(a.problem, [&]<class V>(V) {
    using Tile = Tiling<V::kDim>;
    launch(stream,
           attention_shape("attention_forward_f32", a.problem, Tile::kOwnRows, Tile::kThreads,
                           sizeof(typename Tile::ForwardTiles)),
           forward_kernel<V::kDim, V::kRules>, a);
  });
}

void launch_attention(const Stream& stream, const AttentionBackwardArgs<float>& a) {
  with_variant<64, 128>(a.problem, [&]<class V>(V) {
    using Tile = Tiling<V::kDim>;
    const auto shape = [&](const char* name) {
      return attention_shape(name, a.problem, Tile::kOwnRows, Tile::kThreads, sizeof(typename Tile::BackwardTiles));
    };
    launch(stream, shape("attention_dq_f32"), dq_kernel<V::kDim, V::kRules>, a);
    launch(stream, shape("attention_dkv_f32"), dkv_kernel<V::kDim, V::kRules>, a);
  });
}

}  // namespace ddp::cuda
