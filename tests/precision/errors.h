// How far the gradients of one computation are from those of another, tensor by tensor.
#pragma once

#include <span>
#include <string>

#include "tests/precision/model_pass.h"

namespace ddp::test {

// ||got - want|| / ||want||; 0 where the two are the same, as they are where a gradient is exactly 0.
double relative_error(std::span<const double> got, std::span<const double> want);

struct TensorError {
  std::string name;
  double error = 0;
};
std::vector<TensorError> gradient_errors(const ParamLayout& layout, const Vec& got, const Vec& want);

}  // namespace ddp::test
