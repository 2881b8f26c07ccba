// Training steps of a model on one device, timed, and beside them in the same run the products that are their ceiling.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/train/dry_run.h"
#include "tests/bench/ceiling.h"
#include "tests/bench/op_timer.h"
#include "tests/bench/step_options.h"

namespace ddp {

struct StepResult {
  StepBenchOptions options;
  std::string device;  // its name
  bool graphs = false;
  int64_t parameters = 0;
  WorkUnit unit;
  int64_t units = 0;               // of a step
  double flops = 0;                // of a step, attention counted as it is computed, as the plan does
  double square_flops = 0;         // the same with attention as a full square, as others count
  std::vector<double> step_ms;     // on the device, by events
  std::vector<double> host_ms;     // until the step was enqueued
  std::vector<double> ceiling_ms;  // of a run of the ceiling's products, after each step
  double ceiling_flops = 0;
  std::string ceiling_name;
  int64_t planned_bytes = 0;
  int64_t allocated_bytes = 0;               // through the device
  int64_t used_bytes = 0;                    // MemoryInfo::taken_bytes
  double loss = 0;                           // of the last step
  std::map<std::string, OpTimer::Cost> ops;  // of the last step; empty where they were not observed
};

class StepBench {
 public:
  explicit StepBench(const StepBenchOptions& options);

  // Steps that are not measured. On CUDA the first chooses algorithms and the second captures graphs.
  int num_warm_up() const { return options_.is_cuda ? 3 : 1; }
  // The next step and, once warm, the ceiling's products. Prints a line.
  void run();
  StepResult result() const;

 private:
  struct Backend {
    std::unique_ptr<Device> device;
    const OpTable& table;
  };
  static Backend make_backend(const StepBenchOptions& options, const DryRun& plan);
  void init_params();
  void make_ceiling();
  double square_flops() const;

  StepBenchOptions options_;
  DeviceKind kind_;
  std::unique_ptr<Model> model_;
  DryRun plan_;
  Backend backend_;
  std::unique_ptr<Communicator> comm_;
  Buffer<std::byte> memory_;
  Arena arena_;
  bool graphs_;
  OpTimer timer_;
  TrainStep step_;
  HostBatch batch_;
  Event begin_, end_;
  std::unique_ptr<Ceiling> ceiling_;
  MemoryInfo memory_info_;  // before the ceiling took its own
  int number_ = 0;          // of the last step, from 1
  StepState known_;         // after it
  double loss_ = 0;
  std::vector<double> step_ms_, host_ms_, ceiling_ms_;
};

}  // namespace ddp
