// Runs an op in every setting of a backend, demands the same bits, and checks that nothing outside the outputs was
// written. The same tests are linked with the CPU backend (cpu_backend.cpp: a setting is a number of threads) and with
// the CUDA kernels under the emulator (tests/cuda_sim/kernels: a setting is a schedule and a seed).
#pragma once

#include <cstddef>
#include <deque>
#include <span>
#include <vector>

#include "kernels/op_table.h"
#include "kernels/ops.h"
#include "tests/ops/reference.h"

namespace ddp::test {

using Floats = std::vector<float>;

// n values in [-scale, scale), the same for the same seed.
Floats randoms(uint32_t seed, int64_t n, float scale = 1.0f);
// n values that no op may read or leave behind.
Floats poison(int64_t n);

// ---- storage types ----

// Types of a weight gradient of a computation in `storage`.
std::vector<DType> grad_types(DType storage, bool accumulate);

// Values as memory of a storage type holds them.
class Stored {
 public:
  Stored(DType type, const Floats& values);
  TensorView view(const Shape& shape) const;
  DType type() const { return type_; }
  const std::vector<std::byte>& bytes() const { return bytes_; }
  Floats values() const;  // rounded
  Vec wide() const;       // likewise

 private:
  DType type_;
  std::vector<std::byte> bytes_;
};

// ---- what differs between backends ----

int num_settings();
std::vector<DType> storage_types();  // f32 first
std::unique_ptr<Device> make_test_device(int setting);
const OpTable& test_op_table();
// Whether a row of a product has the same bits however many are computed beside it.
bool rows_are_independent();
// Lets kernels use this memory of the host.
void lend_to_device(const void* memory, size_t bytes);

template <class T>
T* lend_to_device(T* values, int64_t n = 1) {
  lend_to_device(static_cast<const void*>(values), size_t(n) * sizeof(T));
  return values;
}

// d with its step and its samples in memory that kernels may use; as many samples as ids.
inline Dropout lend_to_device(Dropout d, const uint32_t& step, const std::vector<int32_t>& sample_ids) {
  d.step = lend_to_device(&step);
  d.num_samples = int64_t(sample_ids.size());
  d.sample_ids = lend_to_device(sample_ids.data(), d.num_samples);
  return d;
}

template <class T>
TensorView view(const std::vector<T>& data, const Shape& shape) {
  DDP_CHECK(int64_t(data.size()) == shape.numel(), "{} values as {}", data.size(), shape.text());
  return {const_cast<T*>(lend_to_device(data.data(), shape.numel())), kDTypeOf<T>, shape};
}

// One run of ops in one setting. Outputs lie between guard zones.
class Run {
 public:
  explicit Run(int setting = 0);
  const Exec& exec() const { return exec_; }

  // A buffer the op writes, with this content before.
  template <class T>
  TensorView output(const std::vector<T>& before, const Shape& shape) {
    return {add(std::as_bytes(std::span(before))), kDTypeOf<T>, shape};
  }
  TensorView output(const Stored& before, const Shape& shape) { return {add(before.bytes()), before.type(), shape}; }
  // An output ("=") of this shape.
  TensorView output(const Shape& shape, DType type = DType::f32) {
    return output(Stored(type, poison(shape.numel())), shape);
  }

  // Waits for the stream and checks the guards; the outputs in the order of their creation.
  std::vector<std::vector<std::byte>> finish();

 private:
  void* add(std::span<const std::byte> before);

  std::unique_ptr<Device> device_;
  Stream stream_;
  Exec exec_;
  std::deque<std::vector<std::byte>> guarded_;
};

// The outputs of a run, by the order in which they were made.
class Outputs {
 public:
  explicit Outputs(std::vector<std::vector<std::byte>> bytes) : bytes_(std::move(bytes)) {}
  template <class T>
  std::vector<T> as(size_t i) const {
    std::vector<T> out(bytes_.at(i).size() / sizeof(T));
    std::memcpy(out.data(), bytes_[i].data(), bytes_[i].size());
    return out;
  }
  Floats operator[](size_t i) const { return as<float>(i); }
  // Of an output of a storage type.
  Floats values(size_t i, DType type) const;
  bool operator==(const Outputs&) const = default;

 private:
  std::vector<std::vector<std::byte>> bytes_;
};

void check_same_bits(const Outputs& got, const Outputs& want, int setting);

// `enqueue(Run&)` makes the outputs and calls ops.
template <class F>
Outputs in_every_setting(F enqueue) {
  const auto in = [&](int setting) {
    Run run(setting);
    enqueue(run);
    return Outputs(run.finish());
  };
  const Outputs first = in(0);
  for (int setting = 1; setting < num_settings(); ++setting) check_same_bits(in(setting), first, setting);
  return first;
}

// Every |got - want| <= tolerance * (|want| + magnitude), and what rounding the result to `type` costs. `magnitude` is
// that of the terms that were summed: f32 cannot do better.
void check_close(const Floats& got, const Vec& want, double tolerance, double magnitude, DType type = DType::f32);

Vec widen(const Floats& x);
double largest(const Vec& x);  // max |x|

}  // namespace ddp::test
