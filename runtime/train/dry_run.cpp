#include "runtime/train/dry_run.h"

#include <algorithm>

#include "runtime/base/error.h"
#include "runtime/comm/nccl_comm.h"

namespace ddp {
namespace {

class CostCounter final : public OpObserver {
 public:
  explicit CostCounter(std::map<std::string, OpCost>& ops) : ops_(ops) {}
  void before(const OpInfo& info, Stream&) override {
    OpCost& op = ops_[info.name];
    ++op.calls;
    op.flops += info.flops;
    op.bytes += info.bytes;
  }
  void after(const OpInfo&, Stream&) override {}

 private:
  std::map<std::string, OpCost>& ops_;
};

// Of NCCL's communicator beside symmetric memory: a deterministic sum of a bucket is made in one piece.
int64_t nccl_bytes(const Config& config, int ranks, const StepShape& shape) {
  constexpr int64_t kLeastScratch = 1 << 20;
  if (ranks == 1) return 0;
  return kNcclBarrierBytes + (config.train.deterministic ? std::max(shape.bucket_bytes, kLeastScratch) : 0);
}

}  // namespace

int64_t DryRun::flops() const {
  int64_t total = 0;
  for (const auto& [name, op] : ops) total += op.flops;
  return total;
}

int64_t DryRun::device_bytes() const {
  return memory.params + memory.state + memory.grads + memory.optimizer + memory.input + memory.metrics +
         memory.eval_sums + arena.arena_bytes + workspace_bytes + nccl_bytes;
}

DryRun dry_run(const Config& config, int ranks, const Model& model, DeviceKind device_kind, const OpTable& table) {
  DryRun result;
  const std::unique_ptr<Device> device = make_meta_device();
  const std::unique_ptr<Communicator> comm = make_solo_comm(*device);
  CostCounter counter(result.ops);
  Arena arena;
  TrainStep step({.config = config,
                  .ranks = ranks,
                  .device = *device,
                  .table = table,
                  .comm = *comm,
                  .model = model,
                  .observer = &counter},
                 arena);
  const HostBatch batch(step.batch_layout());
  step.enqueue(1, [&]() -> const HostBatch& { return batch; }, {}, {});
  const std::map<std::string, OpCost> ops = result.ops;  // of training alone
  step.enqueue_eval(batch);

  result.ops = ops;
  result.arena = arena.plan();
  result.memory = step.memory();
  result.symmetric_bytes = grad_reducer_bytes(model.layout(), step.shape().reducer_options()).symmetric;
  result.all_reduce_bytes = model.layout().flat_elements() * int64_t(dtype_bytes(step.shape().precision.gradients));
  result.num_buckets = int(step.reducer().buckets().size());
  if (device_kind == DeviceKind::cuda) {
    result.workspace_bytes = config.train.workspace_mb << 20;
    result.nccl_bytes = nccl_bytes(config, ranks, step.shape());
  }
  return result;
}

DryRun dry_run_evaluation(const Config& config, int ranks, const Model& model, DeviceKind device_kind) {
  DryRun result;
  const std::unique_ptr<Device> device = make_meta_device();
  Arena arena;
  EvalStep step({.config = config, .device = *device, .table = meta_op_table(), .model = model}, arena);
  const HostBatch batch(step.batch_layout());
  step.enqueue_eval(batch);
  result.arena = arena.plan();
  result.memory = step.memory();
  if (device_kind == DeviceKind::cuda) {
    result.workspace_bytes = config.train.workspace_mb << 20;
    result.nccl_bytes = ranks > 1 ? kNcclBarrierBytes : 0;
  }
  return result;
}

int64_t usable_bytes(int64_t memory_bytes, DeviceKind device) {
  constexpr int64_t kMostForCuda = int64_t(1250) << 20;
  return device == DeviceKind::cuda ? memory_bytes - std::min(memory_bytes / 9, kMostForCuda) : memory_bytes;
}

int64_t largest_micro_batch(const Config& config, int64_t bytes, const Model& model, DeviceKind device) {
  Config trial = config;
  trial.train.deterministic = false;
  const auto fits = [&](int64_t micro_batch) {
    trial.train.micro_batch = trial.train.global_batch = micro_batch;
    return dry_run(trial, 1, model, device).device_bytes() <= bytes;
  };
  constexpr int64_t kMostTried = 1 << 16;  // a small model's batches need host memory, too
  const int64_t least = least_micro_batch(config);
  if (!fits(least)) return 0;
  int64_t low = least, high = 2 * least;  // low fits, high does not
  while (high < kMostTried && fits(high)) {
    low = high;
    high *= 2;
  }
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return low;
}

int64_t largest_dividing_micro_batch(const Config& config, int ranks, int64_t bytes, const Model& model,
                                     DeviceKind device) {
  Config trial = config;
  const auto is_valid = [&] {
    try {
      check_config(trial, ranks);
      return true;
    } catch (const Error&) {  // such as too few lanes for that many ranks
      return false;
    }
  };
  const int64_t share = config.train.global_batch / ranks;
  for (int64_t micro_steps = 1; micro_steps <= share; ++micro_steps) {
    if (share % micro_steps != 0) continue;
    trial.train.micro_batch = share / micro_steps;
    if (is_valid() && dry_run(trial, ranks, model, device).device_bytes() <= bytes) return trial.train.micro_batch;
  }
  return 0;
}

}  // namespace ddp
