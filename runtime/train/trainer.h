// The training loop of one rank, on the host: feeds steps to the device one ahead of their metrics, and between steps
// commits checkpoints, evaluates, reports, and stops when asked. What all ranks must decide alike they decide from
// reduced values. A commit comes before the evaluation of the same step: whoever asks for a stop may not have the
// patience for an evaluation, which a stop skips or breaks off, and the resume makes up. Where data turn out to be bad
// in the middle of a run, what was trained is committed before the rank that met them fails.
#pragma once

#include <exception>
#include <memory>
#include <optional>
#include <span>

#include "runtime/base/rank_env.h"
#include "runtime/board/board.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/config/resume_changes.h"
#include "runtime/data/eval_batches.h"
#include "runtime/data/prefetcher.h"
#include "runtime/train/background_check.h"
#include "runtime/train/best_so_far.h"
#include "runtime/train/dry_run.h"
#include "runtime/train/evaluator.h"
#include "runtime/train/host_state.h"
#include "runtime/train/run_outlets.h"
#include "runtime/train/train_step.h"

namespace ddp {

class Trainer {
 public:
  struct Parts {
    const Config& config;
    const RankEnv& env;
    Board& board;
    Device& device;
    const OpTable& table;
    Communicator& comm;
    const Model& model;
    SourceMakers sources;  // of each value of data.format
    const DryRun& plan;
    WaitPolicy wait;
    // Up to so many bytes of data are looked through before the first step, more beside the steps.
    int64_t checked_first_bytes = int64_t{1} << 30;
  };
  // Opens the training data and allocates what a step needs. Collective. Errors: data (65), no_input (66), os_resource
  // (71).
  explicit Trainer(const Parts& parts);

  // Once: loads or makes the initial state, and trains to the last step, or to where it is asked to stop. Returns
  // complete, or stopped_early after a commit. It fails with this object whole, which its owner may keep until the
  // error is told. Errors: data (65), no_input (66), os_resource (71), cannot_create (73), io (74), config (78),
  // non_finite (79); that of a run which never applied an update is non_finite (79).
  ExitCode run();
  // Tries a last time to write what a full disk kept from the run's folder, and says what is missing there. Of use
  // after a run that failed; one that did not has done so.
  void conclude();

 private:
  std::unique_ptr<DataSource> open(Split split);  // collective where the format has something to prepare
  void meet();                                    // a barrier of all ranks; blocks
  void check_data();                              // rank 0; the others wait for it in what follows
  std::filesystem::path verdict_of(Split split) const;
  void load();
  void open_outlets(std::span<const KeyChange> changes);  // since the checkpoint that the run goes on from
  void enqueue(int64_t step);
  const HostBatch& next_batch(double& wait_ms);  // a blank one of a step that is made void, where there is none
  void finish(int64_t step);                     // waits for the step, reports it, notes what it decided
  [[noreturn]] void fail_of_data();              // once what was trained is committed
  std::optional<SkippedUpdate> skipped_update(const StepMetrics& m) const;
  // Throws where the run has no more hope (non_finite, 79). Every rank does, since all have the same metrics.
  void stop_at_collapse(const StepMetrics& m, const SkippedUpdate& skipped) const;
  void check_progress() const;  // at the last step: throws where no update was ever applied (non_finite, 79)
  void find_best_so_far();
  void keep_best();             // rank 0: under that name; a full disk is a warning
  void evaluate(int64_t step);  // unless a stop was asked for: then it is left to the resume
  void make_up_evaluation();    // one that was due at the resumed step, and that the stop there cut off
  void commit(int64_t step, bool must_succeed);                // a second one of a step does nothing
  void write_checkpoint_of(int64_t step);                      // rank 0. Errors: io (74), non_finite (79)
  void check_can_commit(int64_t step, HostState& host) const;  // Errors: non_finite (79)
  bool is_checkpoint_requested() const;                        // and not yet served
  void tell_corrupt() const;
  void summarize();
  void report_start_up();
  void set_phase(Phase phase);
  RankStatus& status() { return parts_.board->ranks[size_t(parts_.env.rank)]; }
  bool is_first_rank() const { return parts_.env.rank == 0; }
  std::filesystem::path run_folder() const { return parts_.config.output_dir; }
  std::filesystem::path checkpoints() const { return run_folder() / "checkpoints"; }

  Parts parts_;
  Buffer<std::byte> arena_memory_;
  Arena arena_;
  TrainStep step_;
  std::unique_ptr<DataSource> train_source_, valid_source_;
  std::optional<EvalBatches> eval_batches_;
  std::optional<Evaluator> evaluator_;
  TrainingState state_;            // of the last finished step
  std::optional<BestSoFar> best_;  // where checkpoint.best asks for it
  std::optional<Prefetcher> prefetcher_;
  std::optional<BackgroundCheck> check_;  // of rank 0
  std::optional<RunOutlets> outlets_;     // of rank 0

  int64_t first_step_ = 1;
  bool stop_ = false, checkpoint_asked_ = false;  // decided by the finished steps, and by evaluations broken off
  std::exception_ptr data_error_;                 // that this rank is to end with
  std::optional<HostBatch> blank_;                // of a rank that lacks a batch, and has none from there on
  bool is_void_ = false;                          // decided likewise: the step after state_ was made void
  bool owes_evaluation_ = false;                  // one that was due was left to the resume
  int64_t committed_step_ = 0;                    // the newest, on rank 0
  uint32_t checkpoints_served_ = 0;
  int num_missed_commits_ = 0;
  std::string last_checkpoint_;
  std::array<double, 4> data_wait_ms_{};  // by step % 4
  int64_t started_ns_ = 0;
  int64_t last_end_ns_ = 0;
};

}  // namespace ddp
