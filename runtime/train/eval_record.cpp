#include "runtime/train/eval_record.h"

#include <cmath>
#include <numbers>

#include "runtime/base/loss_sums.h"

namespace ddp {

EvalRecord eval_record(int64_t step, int64_t samples, const std::vector<double>& sums, double bytes_per_target) {
  const double counted = sums[kCountedTargets], loss = sums[kLossSum] / counted;
  EvalRecord record{.step = step,
                    .samples = samples,
                    .loss = loss,
                    .bits_per_byte = bytes_per_target > 0 ? loss / (std::numbers::ln2 * bytes_per_target) : NAN};
  for (size_t s = kNumTrainSums; s < sums.size(); ++s)
    record.shares.emplace_back(loss_sum_name(int(s)), sums[s] / counted);
  return record;
}

}  // namespace ddp
