// The ceiling on the CPU: what oneDNN, with its own threading, needs for the products of a step.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <vector>

#include "runtime/device/dtype.h"
#include "tests/bench/ceiling.h"
#include "tests/bench/products.h"

namespace ddp {

class ProductCeiling final : public Ceiling {
 public:
  // Matrices in f32 by sgemm; in bf16 by the matmul primitive on row-major operands, as models store them. Convolutions
  // with the channels last and weights in the layout that oneDNN likes best.
  ProductCeiling(DType type, const std::map<StepProduct, int64_t>& products, int threads);
  std::string name() const override;
  double flops() const override;  // of all products of a step
  // Milliseconds of all products of a step: each shape is timed once and multiplied by its count.
  double run_ms() override;

 private:
  struct Product {
    StepProduct shape;
    int64_t count;  // calls a step
    std::function<void()> run;
  };
  std::function<void()> sgemm(const StepProduct& p);
  std::function<void()> matmul(const StepProduct& p);
  std::function<void()> convolution(const StepProduct& p);

  DType type_;
  int threads_;
  std::vector<Product> products_;
  std::vector<std::byte> a_, b_, c_;  // of the largest product
};

}  // namespace ddp
