#include "tests/bench/step_bench.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>

#include "models/registry.h"
#include "runtime/base/clock.h"
#include "runtime/base/cores.h"
#include "runtime/rank/cuda_backend.h"
#include "runtime/state/init.h"
#include "runtime/train/host_flat.h"
#include "tests/bench/product_ceiling.h"
#include "tests/bench/square_gemm.h"
#include "tests/support/learnable_batch.h"

namespace ddp {
StepBench::Backend StepBench::make_backend(const StepBenchOptions& options, const DryRun& plan) {
  if (!options.is_cuda) return {make_cpu_device({.num_threads = options.threads, .pin_threads = true}), cpu_op_table()};
  const CudaBackend& cuda = open_cuda_backend();
  void* cudnn = model_kind(options.config).convolves ? open_cudnn() : nullptr;
  return {cuda.make_device({.workspace_bytes = plan.workspace_bytes, .cudnn = cudnn}),
          cuda.op_table(precision_of(options.config.train).tf32)};
}

StepBench::StepBench(const StepBenchOptions& options)
    : options_(options),
      kind_(options.is_cuda ? DeviceKind::cuda : DeviceKind::cpu),
      model_(make_model(options.config, kind_)),
      plan_(dry_run(options.config, 1, *model_, kind_)),
      backend_(make_backend(options, plan_)),
      comm_(make_solo_comm(*backend_.device)),
      memory_(*backend_.device, plan_.arena.arena_bytes),
      arena_(plan_.arena, memory_.data()),
      graphs_(options.config.train.cuda_graph && backend_.device->has_graphs()),
      timer_(*backend_.device),
      step_({.config = options_.config,
             .ranks = 1,
             .device = *backend_.device,
             .table = backend_.table,
             .comm = *comm_,
             .model = *model_,
             .observer = &timer_},
            arena_),
      batch_(step_.batch_layout()),
      begin_(*backend_.device),
      end_(*backend_.device) {
  if (graphs_) options_.by_op = false;  // a replay has no ops that anybody sees
  if (model_->language_model() != nullptr)
    test::fill_learnable(batch_, model_->language_model()->vocab(), /*seed=*/1);
  else
    test::fill_random(batch_, /*seed=*/1);
  init_params();
}

void StepBench::init_params() {
  step_.drain();
  HostFlat params(*backend_.device, step_.params(), step_.compute(), {});
  ThreadPool pool({.num_threads = usable_cores()});
  ddp::init_params(model_->layout(), params.values(), uint64_t(options_.config.train.seed), pool);
  params.upload();
  step_.round_params();
  step_.drain();
}

void StepBench::run() {
  const int first = num_warm_up() + 1, last = num_warm_up() + options_.steps;
  ++number_;
  if (number_ == first) {
    memory_info_ = backend_.device->memory_info();
    make_ceiling();
  }
  // The first step makes the events that the last one uses: events around every op would slow the others down.
  timer_.start(options_.by_op && (number_ == 1 || number_ == last));
  begin_.record(step_.compute());
  const int64_t begin = monotonic_ns();
  step_.enqueue(
      number_, [&]() -> const HostBatch& { return batch_; }, {}, known_);
  const double host_ms = ms_between(begin, monotonic_ns());
  end_.record(step_.compute());
  end_.synchronize({});
  const StepMetrics& metrics = *step_.metrics().entry(number_).host.data();
  known_ = metrics.next;
  loss_ = metrics.loss_sum / double(step_.shape().global_targets);
  if (number_ < first) return;
  step_ms_.push_back(end_.ms_since(begin_));
  host_ms_.push_back(host_ms);
  ceiling_ms_.push_back(ceiling_->run_ms());
  if (!options_.is_cuda) ::usleep(30'000);  // OpenMP's threads spin for a while; ours must not pay for it
  fmt::print("{} step {}: {:.1f} ms, enqueued in {:.2f} ms, products {:.2f} ms, loss {:.4f}\n",
             name_of(options_.config.train.precision), number_, step_ms_.back(), host_ms, ceiling_ms_.back(), loss_);
}

void StepBench::make_ceiling() {
  const Config& config = options_.config;
  const DType type = step_.shape().precision.storage;
  if (options_.is_cuda) {
    const int64_t n = square_gemm_size(double(plan_.flops()), type, memory_info_);
    ceiling_ = std::make_unique<SquareGemm>(step_.compute(), backend_.table, type,
                                            std::string(name_of(config.train.precision)), n);
    return;
  }
  ceiling_ = std::make_unique<ProductCeiling>(type == DType::bf16 ? DType::bf16 : DType::f32,
                                              products_of_step(config, *model_, kind_).counts, options_.threads);
}

double StepBench::square_flops() const {
  double flops = double(plan_.flops());
  for (const auto& [name, op] : plan_.ops)
    if (name.starts_with("attention")) flops -= double(op.flops);
  return flops + products_of_step(options_.config, *model_, kind_).square_attention_flops;
}

StepResult StepBench::result() const {
  return {.options = options_,
          .device = backend_.device->name(),
          .graphs = graphs_,
          .parameters = model_->layout().num_parameters(),
          .unit = model_->unit(),
          .units = step_.shape().micro_batch * model_->unit().per_sample,
          .flops = double(plan_.flops()),
          .square_flops = square_flops(),
          .step_ms = step_ms_,
          .host_ms = host_ms_,
          .ceiling_ms = ceiling_ms_,
          .ceiling_flops = ceiling_->flops(),
          .ceiling_name = ceiling_->name(),
          .planned_bytes = plan_.device_bytes(),
          .allocated_bytes = memory_info_.in_use_bytes,
          .used_bytes = memory_info_.taken_bytes,
          .loss = loss_,
          .ops = timer_.costs()};
}

}  // namespace ddp
