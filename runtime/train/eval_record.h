// From the sums of an evaluation to what is told of it.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/metrics/step_record.h"

namespace ddp {

// From sums by LossSum of so many samples. `bytes_per_target` as DataSource says.
EvalRecord eval_record(int64_t step, int64_t samples, const std::vector<double>& sums, double bytes_per_target);

}  // namespace ddp
