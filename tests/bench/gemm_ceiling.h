// The ceiling on the CPU: what oneDNN, with its own threading, needs for the products of a GPT-2 step.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "models/gpt2/options/options.h"
#include "runtime/device/dtype.h"
#include "tests/bench/ceiling.h"

namespace ddp {

class GemmCeiling final : public Ceiling {
 public:
  // f32 by sgemm; bf16 by the matmul primitive on row-major operands, as the model stores them. `rows` = B * T.
  GemmCeiling(DType type, const gpt2::Options& model, int64_t rows, int64_t padded_vocab, int threads);
  std::string name() const override;
  double flops() const override;  // of all products of a step
  // Milliseconds of all products of a step: each shape is timed once and multiplied by its count.
  double run_ms() override;

 private:
  struct Product {
    int64_t m, n, k;  // C (m,n) = A (m,k) B (k,n)
    bool a_transposed, b_transposed;
    int64_t count;  // calls a step
    std::function<void()> run;
    double flops() const { return 2.0 * double(m) * double(n) * double(k) * double(count); }
  };
  std::function<void()> sgemm(const Product& p);
  std::function<void()> matmul(const Product& p);

  DType type_;
  int threads_;
  std::vector<Product> products_;
  std::vector<std::byte> a_, b_, c_;  // of the largest product
};

}  // namespace ddp
