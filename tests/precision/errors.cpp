#include "tests/precision/errors.h"

#include <cmath>

#include "runtime/base/check.h"

namespace ddp::test {

double relative_error(std::span<const double> got, std::span<const double> want) {
  DDP_CHECK(got.size() == want.size(), "{} values and {}", got.size(), want.size());
  double difference = 0.0, size = 0.0;
  for (size_t i = 0; i < want.size(); ++i) {
    difference += (got[i] - want[i]) * (got[i] - want[i]);
    size += want[i] * want[i];
  }
  return difference == 0.0 ? 0.0 : std::sqrt(difference / size);
}

std::vector<TensorError> gradient_errors(const ParamLayout& layout, const Vec& got, const Vec& want) {
  std::vector<TensorError> errors;
  for (const Param& p : layout.params()) {
    const auto part = [&](const Vec& flat) { return std::span(flat).subspan(size_t(p.offset), size_t(p.numel)); };
    errors.push_back({p.name, relative_error(part(got), part(want))});
  }
  return errors;
}

}  // namespace ddp::test
