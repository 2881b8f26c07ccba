// The rate of matrix products that a step is held against, measured in the same run.
#pragma once

#include <string>

namespace ddp {

class Ceiling {
 public:
  virtual ~Ceiling() = default;
  virtual std::string name() const = 0;
  virtual double flops() const = 0;  // of one run
  virtual double run_ms() = 0;       // while nothing else runs; blocks
};

}  // namespace ddp
