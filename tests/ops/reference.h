// The ops of kernels/ops.h as plain loops in double. Masks are multipliers (0 or 1 / (1 - p)), empty without dropout.
//
// With `round` other than exact they are what an unfused implementation in that precision computes: sums and statistics
// as before, but each tensor that it would write to memory on the way (normalised values, scores, probabilities) is
// rounded. Results are not: the caller rounds them as it stores them.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/ops.h"

namespace ddp::test {

using Vec = std::vector<double>;

using Round = double (*)(double);
inline double exact(double x) { return x; }
Round rounding_to(DType type);  // the nearest value of f64, f32, f16 or bf16
Vec rounded(Vec x, DType type);
// The largest relative error of that in 16 bits; 0 for f32, which the tests' own tolerances hold already.
double rounding(DType type);

// Central differences of f at x: independent of every backward below.
Vec numeric_gradient(const std::function<double(const Vec&)>& f, const Vec& x);
double dot(const Vec& a, const Vec& b);

// Multipliers of dropout, element by element from the definition in kernels/dropout.h (fields of `d` in host memory).
float keep_element(const Dropout& d, int64_t sample, int64_t element);
float keep_probability(const Dropout& d, int64_t sample, int64_t head, int64_t q, int64_t k);
Vec row_mask(const Dropout& d, int64_t samples, int64_t elements);                        // (samples, elements)
Vec attention_mask(const Dropout& d, int64_t samples, int64_t heads, int64_t positions);  // (B,H,T,T)

// c (m,n) = a (m,k) b (k,n).
Vec matmul(const Vec& a, const Vec& b, int64_t m, int64_t k, int64_t n);
Vec transposed(const Vec& a, int64_t rows, int64_t columns);

struct ConvolutionSize {
  int64_t n, h, w, c, k, r, s;
  Window window = {};
  int64_t p() const { return num_windows(h, r, window); }
  int64_t q() const { return num_windows(w, s, window); }
};
Vec convolution(const Vec& x, const Vec& w, const ConvolutionSize& size);
Vec convolution_dx(const Vec& dy, const Vec& w, const ConvolutionSize& size);
Vec convolution_dw(const Vec& dy, const Vec& x, const ConvolutionSize& size);
struct ConvolutionGrads {
  Vec dx, dw;
};
ConvolutionGrads convolution_grads(const Vec& dy, const Vec& x, const Vec& w, const ConvolutionSize& size);

struct LayerNormStatistics {
  Vec mean, rstd;
};
struct LayerNormOut {
  Vec y, mean, rstd;
};
LayerNormOut layernorm(const Vec& x, const Vec& w, const Vec& b, double eps, Round round = exact);
struct LayerNormGrads {
  Vec dx, dw, db;
};
LayerNormGrads layernorm_grads(const Vec& dy, const Vec& x, const Vec& w, const LayerNormStatistics& statistics,
                               Round round = exact);
LayerNormGrads layernorm_grads(const Vec& dy, const Vec& x, const Vec& w, double eps);

// Batch norm over the rows of (M,C); C is w.size().
struct BatchNormColumns {
  Vec mean, variance, rstd;  // variance: biased
};
BatchNormColumns batchnorm_columns(const Vec& x, size_t c, double eps);
Vec batchnorm(const Vec& x, const Vec& mean, const Vec& rstd, const Vec& w, const Vec& b, Round round = exact);
// With mean and rstd those of x; d is what reaches the norm.
LayerNormGrads batchnorm_grads(const Vec& d, const Vec& x, const Vec& w, const Vec& mean, const Vec& rstd,
                               Round round = exact);
Vec relu(Vec x);
Vec where_above_zero(const Vec& output, Vec gradient);

// What batchnorm_pool pools: images (N,H,W,C), by 3 x 3 positions at stride 2.
struct PoolSize {
  int64_t n, h, w, c;
  int64_t rows() const { return (h - 1) / 2 + 1; }
  int64_t columns() const { return (w - 1) / 2 + 1; }
  int64_t positions() const { return n * h * w; }
  int64_t windows() const { return n * rows() * columns(); }
  Shape shape() const { return {n, h, w, c}; }
  Shape pooled() const { return {n, rows(), columns(), c}; }
};
struct Pooled {
  Vec y;
  std::vector<uint8_t> index;
};
Pooled pool(const Vec& activations, const PoolSize& size);  // of a ReLU
Vec pool_grad(const Vec& dy, const std::vector<uint8_t>& index, const PoolSize& size);

double gelu(double x, GeluForm form = GeluForm::tanh);
double gelu_slope(double x, GeluForm form = GeluForm::tanh);

struct AttentionShape {
  int64_t b, t, h, d;
  bool causal = true;
  std::vector<int32_t> lengths = {};  // (B), or none: all T
  int64_t c() const { return h * d; }
  int64_t length(int64_t sample) const { return lengths.empty() ? t : lengths[size_t(sample)]; }
  int64_t keys(int64_t sample, int64_t q) const { return causal ? q + 1 : length(sample); }  // that q sees
};
struct AttentionOut {
  Vec out, lse;
};
AttentionOut attention(const Vec& qkv, const Vec& mask, const AttentionShape& s, Round round = exact);
Vec attention_grad(const Vec& dout, const Vec& qkv, const Vec& mask, const AttentionShape& s, Round round = exact);

struct CrossEntropyOut {
  Vec loss, dlogits;
};
CrossEntropyOut cross_entropy(const Vec& logits, const std::vector<int32_t>& targets, int64_t columns, int64_t live,
                              double scale, double smoothing = 0.0);

}  // namespace ddp::test
