#include "tests/ops/naive_attention.h"

#include <algorithm>
#include <cmath>

namespace ddp::test {

NaiveAttention naive_attention(const Vec& qkv, const Vec& dout, const Vec& mask, const AttentionShape& s,
                               double (*round)(double)) {
  NaiveAttention result{Vec(dout.size(), 0.0), Vec(qkv.size(), 0.0)};
  const double scale = 1.0 / std::sqrt(double(s.d));
  Vec p(static_cast<size_t>(s.t)), dp(p.size());
  for (int64_t b = 0; b < s.b; ++b)
    for (int64_t h = 0; h < s.h; ++h)
      for (int64_t q = 0; q < s.t; ++q) {
        const auto part = [&](int64_t t, int64_t i) { return size_t((b * s.t + t) * 3 * s.c() + i * s.c() + h * s.d); };
        const size_t query = part(q, 0), row = size_t((b * s.t + q) * s.c() + h * s.d);
        const auto keep = [&](int64_t k) {
          return mask.empty() ? 1.0 : mask[size_t(((b * s.h + h) * s.t + q) * s.t + k)];
        };
        double top = -INFINITY, total = 0.0, delta = 0.0;
        for (int64_t k = 0; k <= q; ++k) {
          double score = 0.0;
          for (int64_t i = 0; i < s.d; ++i) score += qkv[query + size_t(i)] * qkv[part(k, 1) + size_t(i)];
          p[size_t(k)] = round(score * scale);
          top = std::max(top, p[size_t(k)]);
        }
        for (int64_t k = 0; k <= q; ++k) total += std::exp(p[size_t(k)] - top);
        for (int64_t k = 0; k <= q; ++k) {
          p[size_t(k)] = round(std::exp(p[size_t(k)] - top) / total);
          double dpk = 0.0;
          for (int64_t i = 0; i < s.d; ++i) {
            const double v = qkv[part(k, 2) + size_t(i)];
            result.out[row + size_t(i)] += round(p[size_t(k)] * keep(k)) * v;
            result.dqkv[part(k, 2) + size_t(i)] += round(p[size_t(k)] * keep(k)) * dout[row + size_t(i)];
            dpk += dout[row + size_t(i)] * v;
          }
          dp[size_t(k)] = round(round(dpk) * keep(k));
          delta += p[size_t(k)] * dp[size_t(k)];
        }
        for (int64_t k = 0; k <= q; ++k) {
          const double ds = round(round(p[size_t(k)] * (dp[size_t(k)] - delta)) * scale);
          for (int64_t i = 0; i < s.d; ++i) {
            result.dqkv[query + size_t(i)] += ds * qkv[part(k, 1) + size_t(i)];
            result.dqkv[part(k, 1) + size_t(i)] += ds * qkv[query + size_t(i)];
          }
        }
      }
  for (double& x : result.out) x = round(x);
  for (double& x : result.dqkv) x = round(x);
  return result;
}

}  // namespace ddp::test
