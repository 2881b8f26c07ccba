#include "tests/bench/square_gemm.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <vector>

#include "runtime/device/float16.h"

namespace ddp {
namespace {

constexpr int64_t kSmallest = 64, kLargest = 8192;
constexpr int kRepetitions = 5;

template <class T>
void append(std::vector<std::byte>& out, T value) {
  const auto* bytes = reinterpret_cast<const std::byte*>(&value);
  out.insert(out.end(), bytes, bytes + sizeof value);
}

// n normal values of `type`: a GPU's clock depends on the bits that change, so constants would flatter it.
std::vector<std::byte> random_values(DType type, int64_t n) {
  std::vector<std::byte> values;
  values.reserve(size_t(n) * dtype_bytes(type));
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < n; ++i) {
    const float value = normal(random);
    if (type == DType::f32) append(values, value);
    if (type == DType::bf16) append(values, to_bf16(value));
    if (type == DType::f16) append(values, to_f16(value));
  }
  return values;
}

int64_t matrix_bytes(DType type, int64_t n) { return n * n * int64_t(dtype_bytes(type)); }

}  // namespace

SquareGemm::SquareGemm(Stream& stream, const OpTable& table, DType type, const std::string& precision, int64_t n)
    : stream_(stream),
      table_(table),
      type_(type),
      precision_(precision),
      n_(n),
      y_(stream.device(), matrix_bytes(type, n)),
      x_(stream.device(), matrix_bytes(type, n)),
      w_(stream.device(), matrix_bytes(type, n)),
      begin_(stream.device()),
      end_(stream.device()) {
  // Rows of a block that is repeated, so that the host need not draw 10^8 numbers.
  const int64_t rows = std::min<int64_t>(n, 128);
  const std::vector<std::byte> block = random_values(type, rows * n);
  for (Buffer<std::byte>* matrix : {&x_, &w_})
    for (int64_t at = 0; at < matrix->bytes(); at += int64_t(block.size()))
      stream.copy(matrix->data() + at, block.data(), int64_t(block.size()));
  enqueue(1);
  finish();
}

std::string SquareGemm::name() const { return fmt::format("cuBLASLt {} products of {} x {}", precision_, n_, n_); }

void SquareGemm::enqueue(int repetitions) {
  const auto matrix = [&](Buffer<std::byte>& buffer) { return TensorView(buffer.data(), type_, {n_, n_}); };
  for (int i = 0; i < repetitions; ++i)
    linear_forward({.table = &table_, .stream = &stream_}, {.y = matrix(y_), .x = matrix(x_), .w = matrix(w_)});
}

void SquareGemm::finish() {
  end_.record(stream_);
  end_.synchronize({});
}

double SquareGemm::run_ms() {
  begin_.record(stream_);
  enqueue(kRepetitions);
  finish();
  return end_.ms_since(begin_) / kRepetitions;
}

int64_t square_gemm_size(double step_flops, DType type, const MemoryInfo& memory) {
  const int64_t free = memory.total_bytes - memory.taken_bytes;
  int64_t n = kSmallest;
  while (2 * n <= kLargest && 16.0 * double(n) * double(n) * double(n) <= step_flops &&
         6 * matrix_bytes(type, 2 * n) <= free)
    n *= 2;
  return n;
}

}  // namespace ddp
