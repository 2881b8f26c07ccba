#include "tests/ops/attention_checks.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

namespace ddp::test {
namespace {

const uint32_t kStep = 9;
const std::vector<int32_t> kSampleIds = {3, 1000, 7, 0};

// `values` (B,T,columns) with NaN in the rows past each length.
Floats with_unread_rows(const AttentionShape& s, int64_t columns, Floats values) {
  for (int64_t b = 0; b < s.b; ++b)
    std::fill(values.begin() + (b * s.t + s.length(b)) * columns, values.begin() + (b + 1) * s.t * columns,
              std::numeric_limits<float>::quiet_NaN());
  return values;
}

// Whether rows past the lengths are all zero; x (B,heads,T,columns).
bool is_zero_past(const AttentionShape& s, const Floats& x, int64_t heads) {
  const int64_t columns = int64_t(x.size()) / (s.b * heads * s.t);
  for (int64_t b = 0; b < s.b; ++b)
    for (int64_t h = 0; h < heads; ++h) {
      const auto rows = x.begin() + (b * heads + h) * s.t * columns;
      if (!std::all_of(rows + s.length(b) * columns, rows + s.t * columns, [](float v) { return v == 0.0f; }))
        return false;
    }
  return true;
}

// Largest |got - want| of part `part` (q, k, v: 0, 1, 2) of rows of three parts, C wide.
double worst_of_part(const Vec& got, const Vec& want, int64_t c, int64_t part) {
  double error = 0.0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (int64_t(i) / c % 3 != part) continue;
    const double e = std::abs(got[i] - want[i]);
    if (!(e <= error)) error = e;  // and stays NaN
  }
  return error;
}

void check_f32(const AttentionCall& call, const AttentionOut& want, const Vec& grad, const Outputs& got) {
  check_close(got[0], want.out, kAttentionTolerance, largest(want.out));
  // A probability inherits the absolute error of its score.
  const double scores = std::max(1.0, std::pow(largest(call.qkv.wide()), 2) * std::sqrt(double(call.shape.d)));
  check_close(got[2], grad, kAttentionTolerance * scores, largest(grad));
}

void check_16_bits(const AttentionCall& call, const AttentionOut& want, const Vec& grad, const Outputs& got) {
  const AttentionShape& s = call.shape;
  const Round round = rounding_to(call.type);
  const Vec naive_out = rounded(attention(call.qkv.wide(), call.mask, s, round).out, call.type),
            naive_grad = rounded(attention_grad(call.dout.wide(), call.qkv.wide(), call.mask, s, round), call.type);
  const Vec out = widen(got.values(0, call.type)), dqkv = widen(got.values(2, call.type));
  int64_t longest = 0;
  for (int64_t b = 0; b < s.b; ++b) longest = std::max(longest, s.length(b));
  constexpr double kExact = 1e-6;  // where the naive result is exact, f32 sums still are not
  for (const int64_t third : {0, 1, 2}) {
    CAPTURE(third);
    CHECK(worst_of_part(out, want.out, 1, third) <= 2 * worst_of_part(naive_out, want.out, 1, third) + kExact);
    // The softmax's gradient subtracts dout . out, from the rounded output: of one or two keys naive knows it exactly.
    if (longest > 2)
      CHECK(worst_of_part(dqkv, grad, s.c(), third) <= 2 * worst_of_part(naive_grad, grad, s.c(), third) + kExact);
  }
  check_close(got.values(2, call.type), grad, 4 * rounding(call.type), largest(grad));
}

}  // namespace

Dropout attention_dropout(float p) { return lend_to_device({.p = p, .seed = 21, .site = 2}, kStep, kSampleIds); }

AttentionCall::AttentionCall(DType type, const AttentionShape& shape, float p, float scale)
    : type(type),
      shape(shape),
      qkv(type,
          with_unread_rows(shape, 3 * shape.c(), randoms(uint32_t(shape.t), shape.b * shape.t * 3 * shape.c(), scale))),
      dout(type, with_unread_rows(shape, shape.c(), randoms(2, shape.b * shape.t * shape.c()))),
      dropout(attention_dropout(p)),
      mask(p > 0.0f ? attention_mask(dropout, shape.b, shape.h, shape.t) : Vec{}) {}

Outputs AttentionCall::run() const {
  const AttentionShape& s = shape;
  const Shape rows{s.b, s.t, s.c()}, qkv_rows{s.b, s.t, 3 * s.c()}, statistics{s.b, s.h, s.t};
  const TensorView lengths = s.lengths.empty() ? TensorView{} : view(s.lengths, {s.b});
  return in_every_setting([&](Run& run) {
    const AttentionForward forward{.out = run.output(rows, type),
                                   .lse = run.output(statistics),
                                   .qkv = qkv.view(qkv_rows),
                                   .lengths = lengths,
                                   .heads = s.h,
                                   .causal = s.causal,
                                   .dropout = dropout};
    attention_forward(run.exec(), forward);
    attention_backward(run.exec(), {.dqkv = run.output(qkv_rows, type),
                                    .dout = dout.view(rows),
                                    .out = forward.out,
                                    .qkv = forward.qkv,
                                    .lse = forward.lse,
                                    .workspace = run.output({attention_workspace(s.b, s.t, s.h) / 4}),
                                    .lengths = lengths,
                                    .heads = s.h,
                                    .causal = s.causal,
                                    .dropout = dropout});
  });
}

void check_attention(const AttentionCall& call, const Outputs& got) {
  const AttentionShape& s = call.shape;
  CAPTURE(dtype_name(call.type), s.b, s.t, s.h, s.d, s.causal, s.lengths, call.dropout.p);
  const AttentionOut want = attention(call.qkv.wide(), call.mask, s);
  const Vec grad = attention_grad(call.dout.wide(), call.qkv.wide(), call.mask, s);
  if (call.type == DType::f32)
    check_f32(call, want, grad, got);
  else
    check_16_bits(call, want, grad, got);
  check_close(got[1], want.lse, kAttentionTolerance, largest(want.lse));
  CHECK(is_zero_past(s, got.values(0, call.type), 1));
  CHECK(is_zero_past(s, got[1], s.h));
  CHECK(is_zero_past(s, got.values(2, call.type), 1));
}

void check_attention(DType type, const AttentionShape& shape, float p, float scale) {
  const AttentionCall call(type, shape, p, scale);
  check_attention(call, call.run());
}

}  // namespace ddp::test
