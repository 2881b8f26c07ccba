#include "runtime/rank/plan_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

#include "runtime/base/output.h"
#include "runtime/metrics/text.h"
#include "runtime/rank/command_args.h"
#include "runtime/train/dry_run.h"

namespace ddp {
namespace {

struct Plan {
  Config config;
  int ranks = 1;
  StepShape shape;
  WorkUnit unit;
  int64_t num_parameters = 0;
  DryRun dry;
  int64_t memory_bytes = 0;  // of the device; 0: not asked for
  // Of that: what the run may take, and what then fits.
  int64_t usable_bytes = 0, largest_micro_batch = 0, largest_dividing = 0;
};

std::string read_standard_input() {
  std::string text;
  char buffer[4096];
  while (const size_t n = std::fread(buffer, 1, sizeof buffer, stdin)) text.append(buffer, n);
  return text;
}

std::string with_commas(int64_t value) {
  std::string text = std::to_string(value);
  for (int64_t at = int64_t(text.size()) - 3; at > 0; at -= 3) text.insert(size_t(at), 1, ',');
  return text;
}

// "1 rank", "2 ranks".
std::string count_of(int64_t n, const char* what) { return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s"); }

// Ops by work, most first.
std::vector<std::pair<std::string, OpCost>> sorted_ops(const DryRun& dry) {
  std::vector<std::pair<std::string, OpCost>> ops(dry.ops.begin(), dry.ops.end());
  std::stable_sort(ops.begin(), ops.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second.flops, a.second.bytes) > std::pair(b.second.flops, b.second.bytes);
  });
  return ops;
}

void print_memory_line(const char* what, int64_t bytes, const std::string& note = {}) {
  fmt::print("  {:<22} {:>10}   {:>16} B{}{}\n", what, bytes_text(bytes), with_commas(bytes), note.empty() ? "" : "   ",
             note);
}

void print_what_fits(const Plan& plan) {
  const TrainConfig& train = plan.config.train;
  const TrainStep::Memory& memory = plan.dry.memory;
  fmt::print("\nin {}", bytes_text(plan.memory_bytes));
  if (plan.usable_bytes < plan.memory_bytes)
    fmt::print(", of which {} are for CUDA and its libraries (estimated)",
               bytes_text(plan.memory_bytes - plan.usable_bytes));
  if (plan.largest_micro_batch == 0) {
    fmt::print("\n  no micro-batch fits: parameters, gradients and optimizer state alone take {}\n",
               bytes_text(memory.params + memory.grads + memory.optimizer));
    return;
  }
  fmt::print("\n  largest micro-batch                 {:>6}   in one micro-step, deterministic: false\n",
             plan.largest_micro_batch);
  const std::string of = fmt::format("of a global batch of {}", train.global_batch);
  if (plan.largest_dividing == 0)
    fmt::print("  {:<35} {:>6}   choose another train.global_batch, or more ranks\n", of, "none");
  else
    fmt::print("  {:<35} {:>6}   --set train.micro_batch={}, {} on {}\n", of, plan.largest_dividing,
               plan.largest_dividing, count_of(train.global_batch / plan.ranks / plan.largest_dividing, "micro-step"),
               count_of(plan.ranks, "rank"));
}

void print(const Plan& plan) {
  const DryRun& dry = plan.dry;
  const StepShape& shape = plan.shape;
  const bool is_unit = plan.unit.per_sample == 1;  // a sample is an image, and not of so many tokens
  fmt::print("{} with {} parameters in {}: {} x {} x micro-batch {} = {} {} a step\n\n", plan.config.model.name,
             with_commas(plan.num_parameters), name_of(plan.config.train.precision), count_of(plan.ranks, "rank"),
             count_of(shape.num_micro_steps, "micro-step"), shape.micro_batch, plan.config.train.global_batch,
             is_unit ? std::string(plan.unit.plural)
                     : fmt::format("samples of {} {}", plan.unit.per_sample, plan.unit.plural));
  fmt::print("memory of one rank\n");
  print_memory_line("parameters", dry.memory.params, shape.precision.has_master() ? "with their fp32 master" : "");
  if (dry.memory.state > 0) print_memory_line("model state", dry.memory.state, "running statistics");
  print_memory_line("gradients", dry.memory.grads,
                    shape.lanes_per_rank > 1 ? fmt::format("{} lanes (deterministic)", shape.lanes_per_rank) : "");
  print_memory_line("optimizer state", dry.memory.optimizer);
  print_memory_line(
      "activations (arena)", dry.arena.arena_bytes,
      fmt::format("{:.3f} x the live bound", double(dry.arena.arena_bytes) / double(dry.arena.live_bytes)));
  print_memory_line("input and metrics", dry.memory.input + dry.memory.metrics);
  print_memory_line("an evaluation's sums", dry.memory.eval_sums, "of each sample of a micro-batch");
  if (dry.workspace_bytes > 0) print_memory_line("library workspace", dry.workspace_bytes);
  if (dry.nccl_bytes > 0)
    print_memory_line("communicator", dry.nccl_bytes, plan.config.train.deterministic ? "scratch (deterministic)" : "");
  print_memory_line("total", dry.device_bytes(), "exact; libraries' own memory comes on top");
  fmt::print("\nwork of one step of one rank: {:.4g} GFLOP\n", double(dry.flops()) * 1e-9);
  fmt::print("  {:<24} {:>6} {:>12} {:>12}\n", "op", "calls", "GFLOP", "GB touched");
  for (const auto& [name, op] : sorted_ops(dry))
    fmt::print("  {:<24} {:>6} {:>12.4g} {:>12.4g}\n", name, op.calls, double(op.flops) * 1e-9,
               double(op.bytes) * 1e-9);
  fmt::print("\nall-reduce: {} of {} gradients in {} bucket{} a step\n", bytes_text(dry.all_reduce_bytes),
             dtype_name(shape.precision.gradients), dry.num_buckets, dry.num_buckets == 1 ? "" : "s");
  if (plan.memory_bytes > 0) print_what_fits(plan);
}

// Empty for a model that has no such key.
std::string recompute_of(const Config& config) {
  for (const auto& [key, value] : flatten(config))
    if (key == "train.recompute") return value;
  return {};
}

void print_json(const Plan& plan) {
  const DryRun& dry = plan.dry;
  nlohmann::ordered_json ops = nlohmann::ordered_json::array();
  for (const auto& [name, op] : sorted_ops(dry))
    ops.push_back({{"name", name}, {"calls", op.calls}, {"flops", op.flops}, {"bytes", op.bytes}});
  nlohmann::ordered_json json = {{"model", plan.config.model.name},
                                 {"parameters", plan.num_parameters},
                                 {"precision", name_of(plan.config.train.precision)},
                                 {"recompute", recompute_of(plan.config)},
                                 {"ranks", plan.ranks},
                                 {"micro_batch", plan.config.train.micro_batch},
                                 {"micro_steps", plan.shape.num_micro_steps},
                                 {"lanes_per_rank", plan.shape.lanes_per_rank},
                                 {"memory_bytes",
                                  {{"parameters", dry.memory.params},
                                   {"model_state", dry.memory.state},
                                   {"gradients", dry.memory.grads},
                                   {"optimizer", dry.memory.optimizer},
                                   {"arena", dry.arena.arena_bytes},
                                   {"input_and_metrics", dry.memory.input + dry.memory.metrics},
                                   {"eval_sums", dry.memory.eval_sums},
                                   {"workspace", dry.workspace_bytes},
                                   {"communicator", dry.nccl_bytes},
                                   {"total", dry.device_bytes()}}},
                                 {"arena_live_bound_bytes", dry.arena.live_bytes},
                                 {"flops_per_step", dry.flops()},
                                 {"all_reduce_bytes", dry.all_reduce_bytes},
                                 {"buckets", dry.num_buckets},
                                 {"ops", ops}};
  if (plan.memory_bytes > 0)
    json["largest_micro_batch"] = {{"memory_bytes", plan.memory_bytes},
                                   {"usable_bytes", plan.usable_bytes},
                                   {"micro_batch", plan.largest_micro_batch},
                                   {"dividing_the_global_batch", plan.largest_dividing}};
  fmt::print("{}\n", json.dump(2));
}

}  // namespace

ExitCode plan_command(std::span<char*> raw, const Known& known) {
  const CommandArgs args(raw);
  Plan plan{.config = parse_config(read_standard_input(), "the configuration", known.config),
            .ranks = int(args.integer("--ranks")),
            .shape = {},
            .unit = {},
            .dry = {}};
  const DeviceKind device = args.text("--device") == "cpu" ? DeviceKind::cpu : DeviceKind::cuda;
  const std::unique_ptr<Model> model = make_model(plan.config, device, known.models);
  plan.shape = step_shape(plan.config, plan.ranks, *model);
  plan.unit = model->unit();
  plan.num_parameters = model->layout().num_parameters();
  plan.dry = dry_run(plan.config, plan.ranks, *model, device);
  if (args.has("--memory")) {
    plan.memory_bytes = args.integer("--memory");
    plan.usable_bytes = usable_bytes(plan.memory_bytes, device);
    plan.largest_micro_batch = largest_micro_batch(plan.config, plan.usable_bytes, *model, device);
    plan.largest_dividing = largest_dividing_micro_batch(plan.config, plan.ranks, plan.usable_bytes, *model, device);
  }
  write_output([&] { args.has("--format") ? print_json(plan) : print(plan); });
  return ExitCode::complete;
}

}  // namespace ddp
