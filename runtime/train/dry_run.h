// The dry run: one step and one evaluation of the real training code on the meta device. What comes out is exact
// because it is the same code: every tensor of the arena with its lifetime, every op with its cost, every buffer with
// its size.
#pragma once

#include <map>
#include <string>

#include "runtime/config/config.h"
#include "runtime/device/arena.h"
#include "runtime/state/model.h"
#include "runtime/train/train_step.h"

namespace ddp {

struct OpCost {
  int64_t calls = 0, flops = 0, bytes = 0;
};

struct DryRun {
  ArenaPlan arena;
  TrainStep::Memory memory;
  int64_t symmetric_bytes = 0;   // of `memory.grads`: what the communicator allocates
  int64_t all_reduce_bytes = 0;  // a rank's gradients in a step
  int num_buckets = 0;
  std::map<std::string, OpCost> ops;  // of one step of one rank
  int64_t workspace_bytes = 0;        // of cuBLASLt and cuDNN: CudaOptions
  int64_t nccl_bytes = 0;             // of the communicator beside symmetric_bytes: NcclCommOptions
  int64_t flops() const;              // sum of ops
  int64_t device_bytes() const;       // memory, arena, workspace and NCCL
};

// For a run of the model on `device`. Neither data nor device is touched. `table`: of entries that enqueue nothing,
// for a caller that wants to see what ops are asked for.
DryRun dry_run(const Config& config, int ranks, const Model& model, DeviceKind device = DeviceKind::cpu,
               const OpTable& table = meta_op_table());

// The same for evaluations alone, which take neither gradients nor an optimizer.
DryRun dry_run_evaluation(const Config& config, int ranks, const Model& model, DeviceKind device = DeviceKind::cpu);

// What of a device's memory the device_bytes() of a run may take. Of a GPU's the rest is for CUDA's context and the
// libraries' code: an estimate, a ninth and at most 1250 MiB.
int64_t usable_bytes(int64_t memory_bytes, DeviceKind device);

// The largest micro-batch whose device_bytes() are at most `bytes`, with accumulation 1 and one rank; 0 when not even
// one sample's are.
int64_t largest_micro_batch(const Config& config, int64_t bytes, const Model& model,
                            DeviceKind device = DeviceKind::cpu);

// Of those with which the configuration's global batch can be trained on so many ranks; 0 when none fits.
int64_t largest_dividing_micro_batch(const Config& config, int ranks, int64_t bytes, const Model& model,
                                     DeviceKind device = DeviceKind::cpu);

}  // namespace ddp
