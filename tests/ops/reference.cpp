#include "tests/ops/reference.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/philox.h"
#include "runtime/device/float16.h"

namespace ddp::test {

Round rounding_to(DType type) {
  switch (type) {
    case DType::f64:
      return exact;
    case DType::f32:
      return [](double x) { return double(float(x)); };
    case DType::f16:
      return [](double x) { return double(to_f32(to_f16(float(x)))); };
    default:
      DDP_CHECK(type == DType::bf16, "rounding to {}", dtype_name(type));
      return [](double x) { return double(to_f32(to_bf16(float(x)))); };
  }
}

Vec rounded(Vec x, DType type) {
  const Round round = rounding_to(type);
  for (double& v : x) v = round(v);
  return x;
}

double rounding(DType type) {
  switch (type) {
    case DType::f16:
      return 0x1p-11;
    case DType::bf16:
      return 0x1p-8;
    default:
      return 0.0;
  }
}

Vec numeric_gradient(const std::function<double(const Vec&)>& f, const Vec& x) {
  constexpr double kStep = 1e-5;
  Vec moved = x, out(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    moved[i] = x[i] + kStep;
    const double up = f(moved);
    moved[i] = x[i] - kStep;
    out[i] = (up - f(moved)) / (2 * kStep);
    moved[i] = x[i];
  }
  return out;
}

double dot(const Vec& a, const Vec& b) {
  double total = 0.0;
  for (size_t i = 0; i < a.size(); ++i) total += a[i] * b[i];
  return total;
}

namespace {

float multiplier(const Dropout& d, uint32_t word) {
  return double(word) >= double(d.p) * 4294967296.0 ? float(1.0 / (1.0 - double(d.p))) : 0.0f;
}

}  // namespace

float keep_element(const Dropout& d, int64_t sample, int64_t element) {
  const Philox4 r = philox(d.seed, *d.step, uint32_t(element / 4), 0, d.site << 8, uint32_t(d.sample_ids[sample]));
  return multiplier(d, r.word[element % 4]);
}

float keep_probability(const Dropout& d, int64_t sample, int64_t head, int64_t q, int64_t k) {
  const auto c0 = uint32_t(q / 16 * 8 + q % 8), c1 = uint32_t(k / 16 * 8 + k % 8);
  const Philox4 r = philox(d.seed, *d.step, c0, c1, d.site << 8 | uint32_t(head), uint32_t(d.sample_ids[sample]));
  return multiplier(d, r.word[2 * (q / 8 % 2) + k / 8 % 2]);
}

Vec row_mask(const Dropout& d, int64_t samples, int64_t elements) {
  Vec out;
  for (int64_t b = 0; b < samples; ++b)
    for (int64_t e = 0; e < elements; ++e) out.push_back(keep_element(d, b, e));
  return out;
}

Vec attention_mask(const Dropout& d, int64_t samples, int64_t heads, int64_t positions) {
  Vec out;
  for (int64_t b = 0; b < samples; ++b)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t q = 0; q < positions; ++q)
        for (int64_t k = 0; k < positions; ++k) out.push_back(keep_probability(d, b, h, q, k));
  return out;
}

Vec matmul(const Vec& a, const Vec& b, int64_t m, int64_t k, int64_t n) {
  Vec c(size_t(m * n), 0.0);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t l = 0; l < k; ++l)
      for (int64_t j = 0; j < n; ++j) c[size_t(i * n + j)] += a[size_t(i * k + l)] * b[size_t(l * n + j)];
  return c;
}

Vec transposed(const Vec& a, int64_t rows, int64_t columns) {
  Vec out(a.size());
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) out[size_t(j * rows + i)] = a[size_t(i * columns + j)];
  return out;
}

LayerNormOut layernorm(const Vec& x, const Vec& w, const Vec& b, double eps, Round round) {
  const size_t c = w.size();
  LayerNormOut out{Vec(x.size()), {}, {}};
  for (size_t row = 0; row < x.size(); row += c) {
    double mean = 0.0, variance = 0.0;
    for (size_t i = 0; i < c; ++i) mean += x[row + i] / double(c);
    for (size_t i = 0; i < c; ++i) variance += (x[row + i] - mean) * (x[row + i] - mean) / double(c);
    const double rstd = 1.0 / std::sqrt(variance + eps);
    for (size_t i = 0; i < c; ++i) out.y[row + i] = round((x[row + i] - mean) * rstd) * w[i] + b[i];
    out.mean.push_back(mean), out.rstd.push_back(rstd);
  }
  return out;
}

LayerNormGrads layernorm_grads(const Vec& dy, const Vec& x, const Vec& w, const LayerNormStatistics& statistics,
                               Round round) {
  const size_t c = w.size();
  LayerNormGrads out{Vec(x.size()), Vec(c, 0.0), Vec(c, 0.0)};
  Vec g(c), xhat(c);
  for (size_t row = 0; row < x.size(); row += c) {
    const double mean = statistics.mean[row / c], rstd = statistics.rstd[row / c];
    double mean_g = 0.0, mean_g_xhat = 0.0;
    for (size_t i = 0; i < c; ++i) {
      xhat[i] = round((x[row + i] - mean) * rstd), g[i] = round(dy[row + i] * w[i]);
      mean_g += g[i] / double(c), mean_g_xhat += g[i] * xhat[i] / double(c);
      out.dw[i] += dy[row + i] * xhat[i], out.db[i] += dy[row + i];
    }
    for (size_t i = 0; i < c; ++i) out.dx[row + i] = rstd * (g[i] - mean_g - xhat[i] * mean_g_xhat);
  }
  return out;
}

LayerNormGrads layernorm_grads(const Vec& dy, const Vec& x, const Vec& w, double eps) {
  const LayerNormOut forward = layernorm(x, w, Vec(w.size(), 0.0), eps);
  return layernorm_grads(dy, x, w, {forward.mean, forward.rstd});
}

namespace {
const double kRoot2OverPi = std::sqrt(2.0 / std::acos(-1.0));
}

double gelu(double x, GeluForm form) {
  if (form == GeluForm::erf) return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
  return 0.5 * x * (1.0 + std::tanh(kRoot2OverPi * (x + 0.044715 * x * x * x)));
}

double gelu_slope(double x, GeluForm form) {
  if (form == GeluForm::erf)
    return 0.5 * std::erfc(-x / std::sqrt(2.0)) + 0.5 * kRoot2OverPi * x * std::exp(-0.5 * x * x);
  const double t = std::tanh(kRoot2OverPi * (x + 0.044715 * x * x * x));
  return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * kRoot2OverPi * (1.0 + 3 * 0.044715 * x * x);
}

namespace {

// Index in (B,T,3C) of part (0 q, 1 k, 2 v) of a head.
size_t qkv_index(const AttentionShape& s, int64_t b, int64_t t, int64_t part, int64_t h) {
  return size_t(((b * s.t + t) * 3 + part) * s.c() + h * s.d);
}

// Softmax over the keys that one query sees; returns the log-sum-exp.
double probabilities(const Vec& qkv, const AttentionShape& s, int64_t b, int64_t h, int64_t q, Round round, Vec& p) {
  const int64_t keys = s.keys(b, q);
  p.assign(size_t(keys), 0.0);
  for (int64_t k = 0; k < keys; ++k) {
    double score = 0.0;
    for (int64_t i = 0; i < s.d; ++i)
      score += qkv[qkv_index(s, b, q, 0, h) + size_t(i)] * qkv[qkv_index(s, b, k, 1, h) + size_t(i)];
    p[size_t(k)] = round(score / std::sqrt(double(s.d)));
  }
  const double top = *std::max_element(p.begin(), p.end());
  double total = 0.0;
  for (double x : p) total += std::exp(x - top);
  const double lse = top + std::log(total);
  for (double& x : p) x = round(std::exp(x - lse));
  return lse;
}

}  // namespace

AttentionOut attention(const Vec& qkv, const Vec& mask, const AttentionShape& s, Round round) {
  AttentionOut out{Vec(size_t(s.b * s.t * s.c()), 0.0), Vec(size_t(s.b * s.h * s.t))};
  Vec p;
  for (int64_t b = 0; b < s.b; ++b)
    for (int64_t h = 0; h < s.h; ++h)
      for (int64_t q = 0; q < s.length(b); ++q) {
        const int64_t row = (b * s.h + h) * s.t + q;
        out.lse[size_t(row)] = probabilities(qkv, s, b, h, q, round, p);
        for (int64_t k = 0; k < s.keys(b, q); ++k) {
          const double weight = round(p[size_t(k)] * (mask.empty() ? 1.0 : mask[size_t(row * s.t + k)]));
          for (int64_t i = 0; i < s.d; ++i)
            out.out[size_t((b * s.t + q) * s.c() + h * s.d + i)] += weight * qkv[qkv_index(s, b, k, 2, h) + size_t(i)];
        }
      }
  return out;
}

Vec attention_grad(const Vec& dout, const Vec& qkv, const Vec& mask, const AttentionShape& s, Round round) {
  Vec dqkv(qkv.size(), 0.0), p, dp;
  for (int64_t b = 0; b < s.b; ++b)
    for (int64_t h = 0; h < s.h; ++h)
      for (int64_t q = 0; q < s.length(b); ++q) {
        probabilities(qkv, s, b, h, q, round, p);
        const double* dout_row = &dout[size_t((b * s.t + q) * s.c() + h * s.d)];
        dp.assign(p.size(), 0.0);
        double delta = 0.0;
        for (int64_t k = 0; k < s.keys(b, q); ++k) {
          const double keep = mask.empty() ? 1.0 : mask[size_t(((b * s.h + h) * s.t + q) * s.t + k)];
          const double weight = round(p[size_t(k)] * keep);
          double dweight = 0.0;
          for (int64_t i = 0; i < s.d; ++i) {
            dweight += dout_row[i] * qkv[qkv_index(s, b, k, 2, h) + size_t(i)];
            dqkv[qkv_index(s, b, k, 2, h) + size_t(i)] += weight * dout_row[i];
          }
          dp[size_t(k)] = round(round(dweight) * keep);
          delta += p[size_t(k)] * dp[size_t(k)];
        }
        for (int64_t k = 0; k < s.keys(b, q); ++k) {
          const double ds = round(round(p[size_t(k)] * (dp[size_t(k)] - delta)) / std::sqrt(double(s.d)));
          for (int64_t i = 0; i < s.d; ++i) {
            dqkv[qkv_index(s, b, q, 0, h) + size_t(i)] += ds * qkv[qkv_index(s, b, k, 1, h) + size_t(i)];
            dqkv[qkv_index(s, b, k, 1, h) + size_t(i)] += ds * qkv[qkv_index(s, b, q, 0, h) + size_t(i)];
          }
        }
      }
  return dqkv;
}

CrossEntropyOut cross_entropy(const Vec& logits, const std::vector<int32_t>& targets, int64_t columns, int64_t live,
                              double scale, double smoothing) {
  CrossEntropyOut out{{}, Vec(logits.size(), 0.0)};
  for (size_t row = 0; row < targets.size(); ++row) {
    if (targets[row] < 0) {
      out.loss.push_back(0.0);
      continue;
    }
    const double* x = &logits[row * size_t(columns)];
    const double top = *std::max_element(x, x + live);
    double total = 0.0;
    for (int64_t i = 0; i < live; ++i) total += std::exp(x[i] - top);
    const double lse = top + std::log(total);
    double loss = 0.0;
    for (int64_t i = 0; i < live; ++i) {
      const double weight = (i == targets[row] ? 1.0 - smoothing : 0.0) + smoothing / double(live);
      loss += weight * (lse - x[i]);
      out.dlogits[row * size_t(columns) + size_t(i)] = scale * (std::exp(x[i] - lse) - weight);
    }
    out.loss.push_back(loss);
  }
  return out;
}

}  // namespace ddp::test
