// Element types of tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace ddp {

// f16 (IEEE binary16) and bf16 are storage: kernels widen to f32 to compute.
enum class DType : uint8_t { f32, f64, f16, bf16, i32, i64, u8 };

constexpr size_t dtype_bytes(DType type) {
  switch (type) {
    case DType::f32:
      return 4;
    case DType::f64:
      return 8;
    case DType::f16:
    case DType::bf16:
      return 2;
    case DType::i32:
      return 4;
    case DType::i64:
      return 8;
    case DType::u8:
      return 1;
  }
  return 0;
}

constexpr const char* dtype_name(DType type) {
  switch (type) {
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
    case DType::f16:
      return "f16";
    case DType::bf16:
      return "bf16";
    case DType::i32:
      return "i32";
    case DType::i64:
      return "i64";
    case DType::u8:
      return "u8";
  }
  return "?";
}

// The type that sums, statistics and accumulated gradients of a computation with `storage` have.
constexpr DType wide(DType storage) { return storage == DType::f64 ? DType::f64 : DType::f32; }

struct DTypeSet {
  uint32_t bits = 0;
  constexpr DTypeSet(std::initializer_list<DType> types) {
    for (DType type : types) bits |= 1u << unsigned(type);
  }
  constexpr bool has(DType type) const { return (bits >> unsigned(type) & 1u) != 0; }
};

template <class T>
inline constexpr DType kDTypeOf = [] {
  static_assert(sizeof(T) == 0, "no DType for this type");
  return DType::u8;
}();
template <>
inline constexpr DType kDTypeOf<float> = DType::f32;
template <>
inline constexpr DType kDTypeOf<double> = DType::f64;
template <>
inline constexpr DType kDTypeOf<int32_t> = DType::i32;
template <>
inline constexpr DType kDTypeOf<int64_t> = DType::i64;
template <>
inline constexpr DType kDTypeOf<uint8_t> = DType::u8;

}  // namespace ddp
