#include "tests/precision/stored.h"

#include "runtime/base/check.h"
#include "tests/support/from_f32.h"

namespace ddp::test {
namespace {

template <class T>
double widened(T x) {
  if constexpr (std::is_same_v<T, double>)
    return x;
  else
    return to_f32(x);
}

template <class T>
T nearest(double x) {
  if constexpr (std::is_same_v<T, double>)
    return x;
  else
    return from_f32<T>(float(x));
}

// f(T{}) with the type of the elements.
template <class F>
auto with_type(DType type, F f) {
  switch (type) {
    case DType::f64:
      return f(double{});
    case DType::f32:
      return f(float{});
    case DType::f16:
      return f(Half{});
    default:
      DDP_CHECK(type == DType::bf16, "values of {}", dtype_name(type));
      return f(BFloat16{});
  }
}

}  // namespace

Vec load(const TensorView& x) {
  return with_type(x.dtype, [&](auto t) {
    const auto* values = x.as<decltype(t)>();
    Vec out(size_t(x.numel()));
    for (size_t i = 0; i < out.size(); ++i) out[i] = widened(values[i]);
    return out;
  });
}

void store(const TensorView& y, const Vec& values) {
  DDP_CHECK(int64_t(values.size()) == y.numel(), "{} values into {}", values.size(), y.shape.text());
  with_type(y.dtype, [&](auto t) {
    auto* to = y.as<decltype(t)>();
    for (size_t i = 0; i < values.size(); ++i) to[i] = nearest<decltype(t)>(values[i]);
  });
}

void store_grad(const TensorView& dw, const Vec& grad, DType storage, bool accumulate) {
  const Vec part = rounded(grad, storage);
  store(dw, accumulate ? sum(load(dw), part) : part);
}

Vec sum(Vec a, const Vec& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

}  // namespace ddp::test
