// Runs an op on CPU devices with 1, 2, 3 and 5 threads, demands the same bits, and checks that nothing outside the
// outputs was written.
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

template <class T>
TensorView view(const std::vector<T>& data, const Shape& shape) {
  DDP_CHECK(int64_t(data.size()) == shape.numel(), "{} values as {}", data.size(), shape.text());
  return {const_cast<T*>(data.data()), kDTypeOf<T>, shape};
}

// One run of ops on a device of `threads` threads. Outputs lie between guard zones.
class Run {
 public:
  explicit Run(int threads);
  const Exec& exec() const { return exec_; }

  // A buffer the op writes, with this content before.
  template <class T>
  TensorView output(const std::vector<T>& before, const Shape& shape) {
    return {add(std::as_bytes(std::span(before))), kDTypeOf<T>, shape};
  }
  // An output ("=") of this shape.
  TensorView output(const Shape& shape) { return output(poison(shape.numel()), shape); }

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
  bool operator==(const Outputs&) const = default;

 private:
  std::vector<std::vector<std::byte>> bytes_;
};

void check_same_bits(const Outputs& got, const Outputs& want, int threads);

// `enqueue(Run&)` makes the outputs and calls ops.
template <class F>
Outputs on_all_thread_counts(F enqueue) {
  const auto with = [&](int threads) {
    Run run(threads);
    enqueue(run);
    return Outputs(run.finish());
  };
  const Outputs one = with(1);
  for (int threads : {2, 3, 5}) check_same_bits(with(threads), one, threads);
  return one;
}

// Every |got - want| <= tolerance * (|want| + magnitude). `magnitude` is that of the terms that were summed: f32 cannot
// do better.
void check_close(const Floats& got, const Vec& want, double tolerance, double magnitude);

Vec widen(const Floats& x);
double largest(const Vec& x);  // max |x|

}  // namespace ddp::test
