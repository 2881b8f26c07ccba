// TensorView: pointer + dtype + shape; never owns. Row-major and contiguous. Counts are in elements, and bytes() is the
// only place that multiplies by an element size.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "runtime/base/check.h"
#include "runtime/device/dtype.h"

namespace ddp {

struct Shape {
  static constexpr int kMaxRank = 4;
  std::array<int64_t, kMaxRank> dims{};
  int rank = 0;

  Shape() = default;
  Shape(std::initializer_list<int64_t> list) {
    DDP_CHECK(list.size() <= size_t(kMaxRank), "a shape of {} dimensions", list.size());
    for (int64_t d : list) dims[size_t(rank++)] = d;
  }
  int64_t operator[](int i) const { return dims[size_t(i)]; }
  int64_t numel() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= dims[size_t(i)];
    return n;
  }
  bool operator==(const Shape&) const = default;
  std::string text() const;  // "[4, 256, 768]"
};

struct TensorView {
  void* data = nullptr;
  DType dtype = DType::f32;
  Shape shape;

  TensorView() = default;
  TensorView(void* memory, DType type, const Shape& dims) : data(memory), dtype(type), shape(dims) {}
  explicit operator bool() const { return data != nullptr; }
  int64_t numel() const { return shape.numel(); }
  int64_t bytes() const { return numel() * int64_t(dtype_bytes(dtype)); }
  int64_t dim(int i) const { return shape[i]; }

  // The elements as T; the dtype must agree.
  template <class T>
  T* as() const {
    DDP_CHECK(dtype == kDTypeOf<T>, "tensor is {}", dtype_name(dtype));
    return static_cast<T*>(data);
  }
  // The same elements under another shape of equal count.
  TensorView view(const Shape& dims) const;
  // Rows [begin, begin + n) of the first dimension.
  TensorView rows(int64_t begin, int64_t n) const;
  // Elements [begin, begin + n) of the flattened tensor, rank 1.
  TensorView slice(int64_t begin, int64_t n) const;
};

}  // namespace ddp
