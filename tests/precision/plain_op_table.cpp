// Legend: B samples, T positions, C width, H heads, V vocabulary (padded), M = rows (B * T), K in, N out features.
#include "tests/precision/plain_op_table.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "runtime/device/cpu_device.h"
#include "tests/precision/plain_image_ops.h"
#include "tests/precision/stored.h"

namespace ddp::test {
namespace {

using plain::run;

Vec product(Vec a, const Vec& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] *= b[i];
  return a;
}

// (N) of (M,N).
Vec column_sums(const Vec& x, int64_t n) {
  Vec out(size_t(n), 0.0);
  for (size_t i = 0; i < x.size(); ++i) out[i % size_t(n)] += x[i];
  return out;
}

// x (M,C) after dropout, which writes a tensor of its own.
Vec dropped(const Vec& x, const Dropout& d, DType storage) {
  if (d.p == 0.0f) return x;
  return rounded(product(x, row_mask(d, d.num_samples, int64_t(x.size()) / d.num_samples)), storage);
}

// w as (K,N).
Vec weight(const TensorView& w, bool is_transposed) {
  return is_transposed ? transposed(load(w), w.dim(0), w.dim(1)) : load(w);
}

void run(const LinearForward& a) {
  const int64_t m = a.x.dim(0), k = a.x.dim(1), n = a.y.dim(1);
  Vec y = matmul(load(a.x), weight(a.w, a.w_transposed), m, k, n);
  if (a.bias) {
    const Vec bias = load(a.bias);
    for (size_t i = 0; i < y.size(); ++i) y[i] += bias[i % size_t(n)];
  }
  store(a.y, y);
}

void run(const LinearBackwardInput& a) {
  const int64_t m = a.dx.dim(0), k = a.dx.dim(1), n = a.dy.dim(1);
  const Vec dx = matmul(load(a.dy), transposed(weight(a.w, a.w_transposed), k, n), m, n, k);
  store(a.dx, a.accumulate ? sum(load(a.dx), rounded(dx, a.dx.dtype)) : dx);
}

void run(const LinearBackwardWeight& a) {
  const int64_t m = a.x.dim(0), k = a.x.dim(1), n = a.dy.dim(1);
  const Vec x = load(a.x), dy = load(a.dy);
  const Vec dw = a.w_transposed ? matmul(transposed(dy, m, n), x, n, m, k) : matmul(transposed(x, m, k), dy, k, m, n);
  store_grad(a.dw, dw, a.x.dtype, a.accumulate);
  if (a.db) store_grad(a.db, column_sums(dy, n), a.x.dtype, a.accumulate);
}

void run(const LayerNormForward& a) {
  const DType type = a.residual_in.dtype;
  Vec x = load(a.residual_in);
  if (a.branch) {
    x = rounded(sum(x, dropped(load(a.branch), a.dropout, type)), type);
    store(a.residual_out, x);
  }
  const LayerNormOut out = layernorm(x, load(a.w), load(a.b), double(a.eps), rounding_to(type));
  store(a.y, out.y), store(a.mean, out.mean), store(a.rstd, out.rstd);
}

void run(const LayerNormBackward& a) {
  const DType type = a.x.dtype;
  const LayerNormGrads grads =
      layernorm_grads(load(a.dy), load(a.x), load(a.w), {load(a.mean), load(a.rstd)}, rounding_to(type));
  const Vec dx = rounded(grads.dx, type);
  store(a.dresidual, a.accumulate_residual ? sum(load(a.dresidual), dx) : dx);
  if (a.dbranch) store(a.dbranch, dropped(load(a.dresidual), a.dropout, type));
  store_grad(a.dw, grads.dw, type, a.accumulate);
  store_grad(a.db, grads.db, type, a.accumulate);
}

void run(const GeluForward& a) {
  Vec y = load(a.x);
  for (double& v : y) v = gelu(v, a.form);
  store(a.y, y);
}

void run(const GeluBackward& a) {
  Vec slope = load(a.x);
  for (double& v : slope) v = gelu_slope(v, a.form);
  store(a.dx, product(slope, load(a.dy)));
}

void run(const TanhForward& a) {
  Vec y = load(a.x);
  for (double& v : y) v = std::tanh(v);
  store(a.y, y);
}

void run(const TanhBackward& a) {
  Vec slope = load(a.y);
  for (double& v : slope) v = 1 - v * v;
  store(a.dx, product(slope, load(a.dy)));
}

void run(const ApplyDropout& a) { store(a.y, dropped(load(a.x), a.dropout, a.x.dtype)); }

template <class Args>
AttentionShape shape_of(const Args& a) {
  AttentionShape s{
      .b = a.qkv.dim(0), .t = a.qkv.dim(1), .h = a.heads, .d = a.qkv.dim(2) / (3 * a.heads), .causal = a.causal};
  if (a.lengths) {
    const int32_t* lengths = a.lengths.template as<int32_t>();
    s.lengths.assign(lengths, lengths + s.b);
  }
  return s;
}

Vec mask_of(const Dropout& d, const AttentionShape& s) {
  return d.p == 0.0f ? Vec{} : attention_mask(d, s.b, s.h, s.t);
}

void run(const AttentionForward& a) {
  const AttentionShape s = shape_of(a);
  const AttentionOut out = attention(load(a.qkv), mask_of(a.dropout, s), s, rounding_to(a.qkv.dtype));
  store(a.out, out.out), store(a.lse, out.lse);
}

void run(const AttentionBackward& a) {
  const AttentionShape s = shape_of(a);
  store(a.dqkv, attention_grad(load(a.dout), load(a.qkv), mask_of(a.dropout, s), s, rounding_to(a.qkv.dtype)));
}

// sum (rows, C) += row index(r) of the table, for each row r.
template <class F>
void add_rows(Vec& sum, const TensorView& table, int64_t c, F index) {
  if (!table) return;
  const Vec values = load(table);
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += values[size_t(index(int64_t(i) / c) * c + int64_t(i) % c)];
}

void run(const EmbeddingForward& a) {
  const int64_t t_max = a.out.dim(1), c = a.out.dim(2);
  Vec out(size_t(a.out.numel()), 0.0);
  add_rows(out, a.wte, c, [&](int64_t row) { return a.tokens.as<int32_t>()[row]; });
  add_rows(out, a.wpe, c, [&](int64_t row) { return row % t_max; });
  add_rows(out, a.wtype, c, [&](int64_t row) { return a.types.as<int32_t>()[row]; });
  add_rows(out, a.dense, c, [&](int64_t row) { return row; });
  store(a.out, dropped(rounded(out, a.out.dtype), a.dropout, a.out.dtype));
}

// dw (=|+=) the scatter of dout (rows, C) to row index(r), for each row r.
template <class F>
void scatter_rows_to(const TensorView& dw, const Vec& dout, int64_t c, DType storage, bool accumulate, F index) {
  if (!dw) return;
  Vec sum(size_t(dw.numel()), 0.0);
  for (size_t i = 0; i < dout.size(); ++i) sum[size_t(index(int64_t(i) / c) * c + int64_t(i) % c)] += dout[i];
  store_grad(dw, sum, storage, accumulate);
}

void run(const EmbeddingBackward& a) {
  const DType type = a.dout.dtype;
  const int64_t t_max = a.dout.dim(1), c = a.dout.dim(2);
  const Vec dout = dropped(load(a.dout), a.dropout, type);
  scatter_rows_to(a.dwte, dout, c, type, true, [&](int64_t row) { return a.tokens.as<int32_t>()[row]; });
  scatter_rows_to(a.dwpe, dout, c, type, a.accumulate, [&](int64_t row) { return row % t_max; });
  scatter_rows_to(a.dwtype, dout, c, type, true, [&](int64_t row) { return a.types.as<int32_t>()[row]; });
  if (a.ddense) store(a.ddense, dout);
}

// f(row of the indices, row of all that it names), for each index that names one.
template <class F>
void for_named_rows(const TensorView& index, int64_t samples, int64_t rows, F f) {
  for (int64_t i = 0; i < index.numel(); ++i)
    if (const int32_t named = index.as<int32_t>()[i]; named >= 0)
      f(i, i / (index.numel() / samples) * (rows / samples) + named);
}

void run(const GatherRows& a) {
  const size_t c = size_t(a.x.dim(1));
  const Vec x = load(a.x);
  Vec y(size_t(a.y.numel()), 0.0);
  for_named_rows(a.index, a.samples, a.x.dim(0), [&](int64_t i, int64_t row) {
    std::copy_n(x.begin() + row * int64_t(c), c, y.begin() + i * int64_t(c));
  });
  store(a.y, y);
}

void run(const ScatterRows& a) {
  const size_t c = size_t(a.x.dim(1));
  const Vec x = load(a.x);
  Vec y(size_t(a.y.numel()), 0.0);
  for_named_rows(a.index, a.samples, a.y.dim(0), [&](int64_t i, int64_t row) {
    std::copy_n(x.begin() + i * int64_t(c), c, y.begin() + row * int64_t(c));
  });
  store(a.y, y);
}

void run(const CrossEntropy& a) {
  const int32_t* targets = a.targets.as<int32_t>();
  const double scale = double(a.scale) * (a.loss_scale != nullptr ? double(*a.loss_scale) : 1.0);
  const CrossEntropyOut out = cross_entropy(load(a.logits), {targets, targets + a.targets.numel()}, a.logits.dim(1),
                                            a.live_columns, scale, double(a.label_smoothing));
  store(a.loss, out.loss);
  if (a.backward) store(a.logits, out.dlogits);
}

void run(const SumLosses& a) {
  const Vec losses = load(a.loss);
  const size_t per_sample = losses.size() / size_t(a.sums.dim(0)), num_sums = size_t(a.sums.dim(1));
  Vec totals(size_t(a.sums.numel()), 0.0);
  for (size_t i = 0; i < losses.size(); ++i) {
    const int32_t target = a.targets.as<int32_t>()[i];
    if (target < 0) continue;
    double* sums = totals.data() + i / per_sample * num_sums;
    sums[kLossSum] += losses[i];
    sums[kCountedTargets] += 1;
    if (!a.ranks) continue;
    sums[kTop1] += a.ranks.as<int32_t>()[i] < 1;
    sums[kTop5] += a.ranks.as<int32_t>()[i] < 5;
  }
  store(a.sums, a.accumulate ? sum(load(a.sums), totals) : totals);
}

void run(const AddInto& a) { store(a.y, sum(load(a.y), load(a.x))); }

void run(const Cast& a) { store(a.y, load(a.x)); }

// f(s, begin, end) for each chunk s, which is elements begin .. end - 1.
template <class F>
void for_chunks(const TensorView& chunk_begin, F f) {
  const int64_t* begin = chunk_begin.as<int64_t>();
  for (int64_t s = 0; s + 1 < chunk_begin.numel(); ++s)
    f(size_t(s), size_t(begin[s] - begin[0]), size_t(begin[s + 1] - begin[0]));
}

void run(const SumSquares& a) {
  const Vec x = load(a.x);
  Vec partials(size_t(a.partials.numel()), 0.0);
  for_chunks(a.chunk_begin, [&](size_t s, size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) partials[s] += x[i] * x[i];
  });
  store(a.partials, partials);
}

void run(const AdamW& a) {
  const StepScalars& s = *a.scalars;
  if (s.skips()) return;
  const AdamWCorrection& correction = *a.correction;
  const Vec g = load(a.g), chunk_decay = load(a.chunk_decay);
  Vec p = load(a.p), m = load(a.m), v = load(a.v);
  const double beta1 = double(a.beta1), beta2 = double(a.beta2);
  for_chunks(a.chunk_begin, [&](size_t chunk, size_t begin, size_t end) {
    const double decay = double(s.lr) * double(a.weight_decay) * chunk_decay[chunk];
    for (size_t i = begin; i < end; ++i) {
      const double gi = g[i] * double(s.grad_scale);
      m[i] = beta1 * m[i] + (1 - beta1) * gi;
      v[i] = beta2 * v[i] + (1 - beta2) * gi * gi;
      p[i] -= decay * p[i] +
              double(correction.step_size) * m[i] / (std::sqrt(v[i]) * double(correction.rsqrt_bias2) + double(a.eps));
    }
  });
  store(a.m, m), store(a.v, v), store(a.p, p);
  if (a.rounded) store(a.rounded, load(a.p));
}

void run(const Sgd& a) {
  const StepScalars& s = *a.scalars;
  if (s.skips()) return;
  const Vec g = load(a.g), chunk_decay = load(a.chunk_decay);
  Vec p = load(a.p), m = a.m ? load(a.m) : Vec(p.size(), 0.0);
  const double momentum = double(a.momentum);
  for_chunks(a.chunk_begin, [&](size_t chunk, size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const double gi = g[i] * double(s.grad_scale) + double(a.weight_decay) * chunk_decay[chunk] * p[i];
      m[i] = momentum * m[i] + gi;
      p[i] -= double(s.lr) * (a.nesterov ? gi + momentum * m[i] : m[i]);
    }
  });
  if (a.m) store(a.m, m);
  store(a.p, p);
  if (a.rounded) store(a.rounded, load(a.p));
}

template <class Args>
concept HasPlainForm = requires(const Args& a) {
  run(a);
};

template <class Args>
void entry(Stream& stream, const Args& a) {
  cpu_enqueue(stream, [a](ThreadPool&) { run(a); });
}

}  // namespace

const OpTable& plain_op_table() {
  static const OpTable table = [] {
    OpTable t = cpu_op_table();
    Ops::for_each([&]<class Args>() {
      if constexpr (HasPlainForm<Args>) t.entry<Args>() = entry<Args>;
    });
    t.storage = {DType::f64, DType::f32, DType::f16, DType::bf16};
    return t;
  }();
  return table;
}

}  // namespace ddp::test
