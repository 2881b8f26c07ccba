// Which evaluation of a run is its best so far (checkpoint.best), and the checkpoint of that step under the name
// `best`. What the best was is no part of a checkpoint, which is committed before the evaluation of its step: a run
// that goes on reads it from metrics.jsonl, of which going back leaves the lines up to there.
#pragma once

#include <cstdint>
#include <filesystem>

#include "runtime/config/choices.h"
#include "runtime/metrics/step_record.h"

namespace ddp {

// Bytes, the same on every rank.
struct BestEvaluation {
  int64_t step = 0;  // 0: there was none yet
  double value = 0;
};

// Of those up to `last_step` in a metrics.jsonl. Errors: no_input (66) where it cannot be read.
BestEvaluation best_evaluation(BestBy by, const std::filesystem::path& metrics, int64_t last_step);

class BestSoFar {
 public:
  BestSoFar(BestBy by, const BestEvaluation& found) : by_(by), best_(found) {}

  // Whether the evaluation is better than all before; then it is the best so far. A value that is no number never is.
  bool take(const EvalRecord& record);
  int64_t step() const { return best_.step; }

  // Makes the checkpoint of that step the `best` of the folder. Nothing to do where it is already, or where the folder
  // has no such checkpoint: it was missed, or what `keep` removed before somebody asked for the best. Errors: io (74);
  // then the old `best` is still there.
  void link_in(const std::filesystem::path& checkpoints) const;
  bool is_linked_in(const std::filesystem::path& checkpoints) const;

 private:
  BestBy by_;
  BestEvaluation best_;
};

}  // namespace ddp
