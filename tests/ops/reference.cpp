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

namespace {

// f(index in x, in w, in y) for each product that a convolution sums.
template <class F>
void for_products(const ConvolutionSize& a, F f) {
  const int64_t stride = a.window.stride, padding = a.window.padding;
  for (int64_t n = 0; n < a.n; ++n)
    for (int64_t p = 0; p < a.p(); ++p)
      for (int64_t q = 0; q < a.q(); ++q)
        for (int64_t k = 0; k < a.k; ++k)
          for (int64_t r = 0; r < a.r; ++r)
            for (int64_t s = 0; s < a.s; ++s) {
              const int64_t h = p * stride + r - padding, w = q * stride + s - padding;
              if (h < 0 || h >= a.h || w < 0 || w >= a.w) continue;
              for (int64_t c = 0; c < a.c; ++c)
                f(size_t(((n * a.h + h) * a.w + w) * a.c + c), size_t(((k * a.r + r) * a.s + s) * a.c + c),
                  size_t(((n * a.p() + p) * a.q() + q) * a.k + k));
            }
}

}  // namespace

Vec convolution(const Vec& x, const Vec& w, const ConvolutionSize& size) {
  Vec y(size_t(size.n * size.p() * size.q() * size.k), 0.0);
  for_products(size, [&](size_t in_x, size_t in_w, size_t in_y) { y[in_y] += x[in_x] * w[in_w]; });
  return y;
}

Vec convolution_dx(const Vec& dy, const Vec& w, const ConvolutionSize& size) {
  Vec dx(size_t(size.n * size.h * size.w * size.c), 0.0);
  for_products(size, [&](size_t in_x, size_t in_w, size_t in_y) { dx[in_x] += dy[in_y] * w[in_w]; });
  return dx;
}

Vec convolution_dw(const Vec& dy, const Vec& x, const ConvolutionSize& size) {
  Vec dw(size_t(size.k * size.r * size.s * size.c), 0.0);
  for_products(size, [&](size_t in_x, size_t in_w, size_t in_y) { dw[in_w] += dy[in_y] * x[in_x]; });
  return dw;
}

ConvolutionGrads convolution_grads(const Vec& dy, const Vec& x, const Vec& w, const ConvolutionSize& size) {
  return {convolution_dx(dy, w, size), convolution_dw(dy, x, size)};
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

BatchNormColumns batchnorm_columns(const Vec& x, size_t c, double eps) {
  const double m = double(x.size() / c);
  BatchNormColumns out{Vec(c, 0.0), Vec(c, 0.0), {}};
  for (size_t i = 0; i < x.size(); ++i) out.mean[i % c] += x[i] / m;
  for (size_t i = 0; i < x.size(); ++i) out.variance[i % c] += std::pow(x[i] - out.mean[i % c], 2) / m;
  for (double v : out.variance) out.rstd.push_back(1.0 / std::sqrt(v + eps));
  return out;
}

Vec batchnorm(const Vec& x, const Vec& mean, const Vec& rstd, const Vec& w, const Vec& b, Round round) {
  Vec y = x;
  for (size_t i = 0; i < y.size(); ++i) {
    const size_t column = i % w.size();
    y[i] = round((x[i] - mean[column]) * rstd[column]) * w[column] + b[column];
  }
  return y;
}

LayerNormGrads batchnorm_grads(const Vec& d, const Vec& x, const Vec& w, const Vec& mean, const Vec& rstd,
                               Round round) {
  const size_t c = w.size();
  const double m = double(x.size() / c);
  LayerNormGrads out{Vec(x.size()), Vec(c, 0.0), Vec(c, 0.0)};
  const auto g = [&](size_t i) { return round(d[i] * w[i % c]); };
  const auto xhat = [&](size_t i) { return round((x[i] - mean[i % c]) * rstd[i % c]); };
  for (size_t column = 0; column < c; ++column) {
    double mean_g = 0.0, mean_g_xhat = 0.0;
    for (size_t i = column; i < x.size(); i += c) {
      mean_g += g(i) / m, mean_g_xhat += g(i) * xhat(i) / m;
      out.dw[column] += d[i] * xhat(i), out.db[column] += d[i];
    }
    for (size_t i = column; i < x.size(); i += c) out.dx[i] = rstd[column] * (g(i) - mean_g - xhat(i) * mean_g_xhat);
  }
  return out;
}

Vec relu(Vec x) {
  for (double& v : x) v = v <= 0.0 ? 0.0 : v;
  return x;
}

Vec where_above_zero(const Vec& output, Vec gradient) {
  for (size_t i = 0; i < gradient.size(); ++i)
    if (output[i] <= 0.0) gradient[i] = 0.0;
  return gradient;
}

namespace {

// f(window, element of x, 3 r + s) for each position that lies within, windows and positions in order. Windows are of a
// channel: elements of y.
template <class F>
void for_taps(const PoolSize& x, F f) {
  for (int64_t window = 0; window < x.windows() * x.c; ++window) {
    const int64_t c = window % x.c, q = window / x.c % x.columns(), p = window / x.c / x.columns() % x.rows(),
                  n = window / x.c / x.columns() / x.rows();
    for (int64_t r = 0; r < 3; ++r)
      for (int64_t s = 0; s < 3; ++s) {
        const int64_t h = 2 * p - 1 + r, w = 2 * q - 1 + s;
        if (h >= 0 && h < x.h && w >= 0 && w < x.w)
          f(size_t(window), size_t(((n * x.h + h) * x.w + w) * x.c + c), uint8_t(3 * r + s));
      }
  }
}

}  // namespace

Pooled pool(const Vec& activations, const PoolSize& size) {
  const size_t windows = size_t(size.windows() * size.c);
  Pooled out{Vec(windows, -1.0), std::vector<uint8_t>(windows)};
  for_taps(size, [&](size_t window, size_t element, uint8_t tap) {
    const double v = activations[element];
    if (v > out.y[window] || (std::isnan(v) && !std::isnan(out.y[window]))) out.y[window] = v, out.index[window] = tap;
  });
  return out;
}

Vec pool_grad(const Vec& dy, const std::vector<uint8_t>& index, const PoolSize& size) {
  Vec d(size_t(size.positions() * size.c), 0.0);
  for_taps(size, [&](size_t window, size_t element, uint8_t tap) {
    if (index[window] == tap) d[element] += dy[window];
  });
  return d;
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
