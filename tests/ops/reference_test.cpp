// The references' gradients against central differences of the references' forwards: both in double, so tightly.
#include <catch2/catch.hpp>
#include <cmath>

#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

void check_gradient(const Vec& got, const Vec& want) {
  REQUIRE(got.size() == want.size());
  for (size_t i = 0; i < got.size(); ++i) CHECK(got[i] == Approx(want[i]).epsilon(1e-6).margin(1e-8));
}

TEST_CASE("reference convolution: gradients are those of the forward, at any stride and padding") {
  const auto size = GENERATE(ConvolutionSize{.n = 2, .h = 5, .w = 4, .c = 3, .k = 2, .r = 3, .s = 2},
                             ConvolutionSize{.n = 1, .h = 6, .w = 5, .c = 2, .k = 3, .r = 3, .s = 3, .window = {2, 1}});
  const Vec x = widen(randoms(1, size.n * size.h * size.w * size.c)),
            w = widen(randoms(2, size.k * size.r * size.s * size.c)),
            dy = widen(randoms(3, size.n * size.p() * size.q() * size.k));
  const ConvolutionGrads grads = convolution_grads(dy, x, w, size);
  check_gradient(grads.dx, numeric_gradient([&](const Vec& v) { return dot(dy, convolution(v, w, size)); }, x));
  check_gradient(grads.dw, numeric_gradient([&](const Vec& v) { return dot(dy, convolution(x, v, size)); }, w));
}

TEST_CASE("reference layer norm: gradients are those of the forward") {
  const Vec x = widen(randoms(1, 3 * 7)), w = widen(randoms(2, 7)), b = widen(randoms(3, 7)),
            dy = widen(randoms(4, 3 * 7));
  const LayerNormGrads grads = layernorm_grads(dy, x, w, 1e-3);
  check_gradient(grads.dx, numeric_gradient([&](const Vec& v) { return dot(dy, layernorm(v, w, b, 1e-3).y); }, x));
  check_gradient(grads.dw, numeric_gradient([&](const Vec& v) { return dot(dy, layernorm(x, v, b, 1e-3).y); }, w));
  check_gradient(grads.db, numeric_gradient([&](const Vec& v) { return dot(dy, layernorm(x, w, v, 1e-3).y); }, b));
}

TEST_CASE("reference GELU: the slope is that of the function") {
  for (const GeluForm form : {GeluForm::tanh, GeluForm::erf})
    for (double x = -6.0; x <= 6.0; x += 0.37)
      CHECK(gelu_slope(x, form) ==
            Approx((gelu(x + 1e-5, form) - gelu(x - 1e-5, form)) / 2e-5).epsilon(1e-6).margin(1e-9));
}

TEST_CASE("reference attention: the gradient is that of the forward, causal or not, with lengths, with dropout") {
  const auto s = GENERATE(AttentionShape{.b = 2, .t = 5, .h = 2, .d = 3},
                          AttentionShape{.b = 2, .t = 5, .h = 2, .d = 3, .causal = false},
                          AttentionShape{.b = 2, .t = 5, .h = 2, .d = 3, .causal = false, .lengths = {1, 4}},
                          AttentionShape{.b = 2, .t = 5, .h = 2, .d = 3, .lengths = {3, 5}});
  const Vec qkv = widen(randoms(5, s.b * s.t * 3 * s.c())), dout = widen(randoms(6, s.b * s.t * s.c()));
  Vec mask = widen(randoms(7, s.b * s.h * s.t * s.t));
  for (double& m : mask) m = m > -0.3 ? 1.5 : 0.0;
  for (const Vec& keep : {Vec{}, mask})
    check_gradient(attention_grad(dout, qkv, keep, s),
                   numeric_gradient([&](const Vec& v) { return dot(dout, attention(v, keep, s).out); }, qkv));
}

TEST_CASE("reference cross entropy: the gradient is that of the loss") {
  const Vec logits = widen(randoms(8, 3 * 7, 3.0f));
  const std::vector<int32_t> targets = {4, -1, 0};
  const auto loss = [&](const Vec& v) { return 0.25 * dot(Vec(3, 1.0), cross_entropy(v, targets, 7, 5, 0.25).loss); };
  check_gradient(cross_entropy(logits, targets, 7, 5, 0.25).dlogits, numeric_gradient(loss, logits));
}

}  // namespace
}  // namespace ddp::test
