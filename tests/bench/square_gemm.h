// The ceiling on a GPU: a large square product through the op table's linear_forward, which is cuBLASLt's.
#pragma once

#include "kernels/op_table.h"
#include "tests/bench/ceiling.h"

namespace ddp {

class SquareGemm final : public Ceiling {
 public:
  // Products of n x n matrices of `type` on `stream`, by `table`; `precision` is the run's. The first one, which
  // chooses the algorithm, is over when this returns. Takes 3 n^2 elements of device memory.
  SquareGemm(Stream& stream, const OpTable& table, DType type, const std::string& precision, int64_t n);
  std::string name() const override;
  double flops() const override { return 2.0 * double(n_) * double(n_) * double(n_); }
  // Of one product, the mean of several that follow each other.
  double run_ms() override;

 private:
  void enqueue(int repetitions);
  void finish();

  Stream& stream_;
  const OpTable& table_;
  DType type_;
  std::string precision_;
  int64_t n_;
  Buffer<std::byte> y_, x_, w_;
  Event begin_, end_;
};

// The largest power of two n, 64 to 8192, whose product is no more work than a step and whose matrices fit twice in the
// memory that is left: large beside a real model, quick beside a toy.
int64_t square_gemm_size(double step_flops, DType type, const MemoryInfo& memory);

}  // namespace ddp
