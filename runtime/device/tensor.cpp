#include "runtime/device/tensor.h"

namespace ddp {

std::string Shape::text() const {
  std::string out = "[";
  for (int i = 0; i < rank; ++i) out += (i ? ", " : "") + std::to_string(dims[size_t(i)]);
  return out + "]";
}

TensorView TensorView::view(const Shape& dims) const {
  DDP_CHECK(dims.numel() == numel(), "view {} of {}", dims.text(), shape.text());
  return {data, dtype, dims};
}

TensorView TensorView::rows(int64_t begin, int64_t n) const {
  DDP_CHECK(shape.rank >= 1 && begin >= 0 && n >= 0 && begin + n <= shape[0], "rows {}+{} of {}", begin, n,
            shape.text());
  TensorView out = *this;
  const int64_t row_bytes = shape[0] == 0 ? 0 : bytes() / shape[0];
  out.data = static_cast<std::byte*>(data) + begin * row_bytes;
  out.shape.dims[0] = n;
  return out;
}

TensorView TensorView::slice(int64_t begin, int64_t n) const {
  DDP_CHECK(begin >= 0 && n >= 0 && begin + n <= numel(), "slice {}+{} of {}", begin, n, shape.text());
  return {static_cast<std::byte*>(data) + begin * int64_t(dtype_bytes(dtype)), dtype, {n}};
}

}  // namespace ddp
