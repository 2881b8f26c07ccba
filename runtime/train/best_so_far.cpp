#include "runtime/train/best_so_far.h"

#include <cmath>

#include "runtime/base/loss_sums.h"
#include "runtime/base/run_files.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/metrics/jsonl_sink.h"

namespace ddp {
namespace {

std::string_view key_of(BestBy by) { return loss_sum_name(by == BestBy::accuracy ? kTop1 : kLossSum); }

double value_of(BestBy by, const EvalRecord& record) {
  if (by == BestBy::loss) return record.loss;
  for (const auto& [name, share] : record.shares)
    if (name == key_of(by)) return share;
  return NAN;
}

bool is_better(BestBy by, double value, const BestEvaluation& best) {
  if (std::isnan(value)) return false;
  return best.step == 0 || (by == BestBy::accuracy ? value > best.value : value < best.value);
}

}  // namespace

BestEvaluation best_evaluation(BestBy by, const std::filesystem::path& metrics, int64_t last_step) {
  BestEvaluation best;
  for (const auto& [step, value] : evaluations(metrics, key_of(by), last_step))
    if (is_better(by, value, best)) best = {step, value};
  return best;
}

bool BestSoFar::take(const EvalRecord& record) {
  const double value = value_of(by_, record);
  if (!is_better(by_, value, best_)) return false;
  best_ = {record.step, value};
  return true;
}

void BestSoFar::link_in(const std::filesystem::path& checkpoints) const {
  const std::filesystem::path checkpoint = checkpoints / step_name(best_.step);
  if (best_.step > 0 && !is_linked_in(checkpoints) && std::filesystem::exists(checkpoint))
    link_checkpoint(checkpoint, checkpoints / kBestName);
}

bool BestSoFar::is_linked_in(const std::filesystem::path& checkpoints) const {
  const std::optional<Checkpoint> linked = find_best(checkpoints);
  return linked && linked->step == best_.step;
}

}  // namespace ddp
