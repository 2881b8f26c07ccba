// An evaluation without training, of one rank: a model from a checkpoint or from model.init_from, on data.valid. It
// changes nothing in the folder of the run that the checkpoint belongs to, which may be training.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "runtime/base/rank_env.h"
#include "runtime/board/board.h"
#include "runtime/data/eval_batches.h"
#include "runtime/metrics/step_record.h"
#include "runtime/train/dry_run.h"
#include "runtime/train/eval_step.h"

namespace ddp {

struct Evaluation {
  EvalRecord record;      // of the checkpoint's step; 0: of model.init_from
  std::string source;     // the checkpoint, or model.init_from; on rank 0
  double perplexity = 0;  // of a language model; NaN of others
  double seconds = 0;     // of the evaluation itself
};

class EvalRun {
 public:
  struct Parts {
    const Config& config;
    const RankEnv& env;  // resume: none, the path of a checkpoint, or of a folder of them, whose newest good one it is
    Board& board;
    Device& device;
    const OpTable& table;
    Communicator& comm;
    const Model& model;
    SourceMakers sources;
    const DryRun& plan;  // by dry_run_evaluation
    WaitPolicy wait;
  };
  // Allocates what an evaluation needs. Errors: os_resource (71).
  explicit EvalRun(const Parts& parts);

  // Once; the same on every rank, but for `source` and `seconds`. Collective; blocks. It fails with this object whole,
  // which its owner may keep until the error is told. Errors: data (65), no_input (66), config (78), non_finite (79).
  Evaluation run();

 private:
  void meet();     // a barrier of all ranks; blocks
  int64_t load();  // returns the step, on every rank
  void set_phase(Phase phase);

  Parts parts_;
  Buffer<std::byte> arena_memory_;
  Arena arena_;
  EvalStep step_;
  Stream communication_;
  std::unique_ptr<DataSource> data_;
  std::optional<EvalBatches> batches_;
  std::string source_;  // on rank 0
};

}  // namespace ddp
