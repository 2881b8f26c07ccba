// erfc without a math library, the same on every backend, in the form of Abramowitz and Stegun 7.1.26: for z >= 0
// erfc(z) = e^(-z^2) t q(t), t = 1 / (1 + p z). q is the polynomial that interpolates erfc at the Chebyshev nodes of z
// in [0, 7.3]: 8e-8 of erfc there at most, before rounding. Beyond, erfc is below 1e-24 and t q(t) stays in (0, 0.06].
#pragma once

namespace ddp {

inline constexpr float kErfcP = 0.328f;

// t q(t), of a float or a vector of them.
template <class V>
constexpr V scaled_erfc(V t) {
  V q = t * -1.443931937e-1f + 5.089936267e-1f;
  q = q * t - 4.303593974e-1f;
  q = q * t + 4.789987201e-1f;
  q = q * t + 9.904895524e-3f;
  q = q * t + 2.115526503e-1f;
  q = q * t + 1.799405515e-1f;
  q = q * t + 1.853620784e-1f;
  return q * t;
}

}  // namespace ddp
