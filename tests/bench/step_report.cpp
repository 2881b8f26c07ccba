#include "tests/bench/step_report.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "models/gpt2/options/options.h"
#include "runtime/base/fs.h"

namespace ddp {
namespace {

// FLOP in ms, as "430 GFLOP/s".
std::string rate_text(double flops, double ms) {
  const double rate = flops / ms * 1e-6;
  return rate < 10'000 ? fmt::format("{:.0f} GFLOP/s", rate) : fmt::format("{:.0f} TFLOP/s", rate * 1e-3);
}

double mfu(const StepResult& r) { return (r.flops / median(r.step_ms)) / (r.ceiling_flops / median(r.ceiling_ms)); }

std::string setting_text(const StepResult& r) {
  const auto& m = options_of<gpt2::Options>(r.options.config);
  const std::string where =
      r.options.is_cuda ? r.device + (r.graphs ? ", as graphs" : "") : fmt::format("{} threads", r.options.threads);
  return fmt::format("GPT-2 of {} layers x {} ({:.1f} M parameters), B={}, T={}, {}, {}", m.layers, m.width,
                     double(r.parameters) * 1e-6, r.options.config.train.micro_batch, m.context,
                     name_of(r.options.config.train.precision), where);
}

void print_ops(const StepResult& r) {
  const double step_ms = r.step_ms.back();
  std::vector<std::pair<std::string, OpTimer::Cost>> ops(r.ops.begin(), r.ops.end());
  std::sort(ops.begin(), ops.end(), [](const auto& a, const auto& b) { return a.second.ms > b.second.ms; });
  fmt::print("\n{:<24} {:>6} {:>9} {:>7} {:>9} {:>8}\n", "op (one step, timed)", "calls", "ms", "%", "GFLOP/s", "GB/s");
  OpTimer::Cost linear;
  for (const auto& [name, c] : ops) {
    fmt::print("{:<24} {:>6} {:>9.2f} {:>6.1f}% {:>9.1f} {:>8.1f}\n", name, c.calls, c.ms, 100 * c.ms / step_ms,
               double(c.flops) / c.ms * 1e-6, double(c.bytes) / c.ms * 1e-6);
    if (name.starts_with("linear")) linear.flops += c.flops, linear.ms += c.ms;
  }
  const double share = double(linear.flops) / linear.ms / (r.ceiling_flops / median(r.ceiling_ms));
  fmt::print("linear layers alone: {}, {:.1f}% of the ceiling\n", rate_text(double(linear.flops), linear.ms),
             100 * share);
}

}  // namespace

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void print(const StepResult& r) {
  const double ms = median(r.step_ms), ceiling_ms = median(r.ceiling_ms);
  const bool is_bf16 = r.options.config.train.precision == PrecisionName::bf16;
  fmt::print("\n{}: {:.0f} GFLOP in {:.1f} ms = {}\n", setting_text(r), r.square_flops * 1e-9, ms,
             rate_text(r.square_flops, ms));
  fmt::print("{}: {}\n", r.ceiling_name, rate_text(r.ceiling_flops, ceiling_ms));
  fmt::print("ratio {:.1f}%", 100 * (r.square_flops / ms) / (r.ceiling_flops / ceiling_ms));
  if (!r.options.is_cuda) fmt::print(" (goal for GPT-2 small: at least {}%)", is_bf16 ? 70 : 80);
  fmt::print("\nwith causal attention counted as half, {:.0f} GFLOP: MFU {:.1f}% of {}\n", r.flops * 1e-9, 100 * mfu(r),
             r.ceiling_name);
  fmt::print("{:.0f} tokens/s; the host enqueues a step in {:.2f} ms\n", double(r.tokens) / ms * 1e3,
             median(r.host_ms));
  fmt::print("memory: {} bytes planned, {} allocated, {} taken as the device reports it{}\n", r.planned_bytes,
             r.allocated_bytes, r.used_bytes, r.options.is_cuda ? ": contexts and other processes too" : "");
  if (r.graphs) fmt::print("no table by op: ops are not observed in a replayed graph\n");
  if (!r.ops.empty()) print_ops(r);
}

void write_json(const StepResult& r, const std::filesystem::path& path) {
  const double ms = median(r.step_ms);
  const Config& config = r.options.config;
  nlohmann::ordered_json ops = nlohmann::ordered_json::array();
  for (const auto& [name, c] : r.ops)
    ops.push_back({{"name", name}, {"calls", c.calls}, {"ms", c.ms}, {"flops", c.flops}, {"bytes", c.bytes}});
  const nlohmann::ordered_json json = {
      {"device", r.device},
      {"precision", name_of(config.train.precision)},
      {"graphs", r.graphs},
      {"batch", config.train.micro_batch},
      {"context", options_of<gpt2::Options>(config).context},
      {"parameters", r.parameters},
      {"step_ms", ms},
      {"step_ms_all", r.step_ms},
      {"host_ms", median(r.host_ms)},
      {"tokens_per_s", double(r.tokens) / ms * 1e3},
      {"flops_per_step", int64_t(r.flops)},
      {"ceiling_tflops", r.ceiling_flops / median(r.ceiling_ms) * 1e-9},
      {"mfu", mfu(r)},
      {"planned_bytes", r.planned_bytes},
      {"used_bytes", r.used_bytes},
      {"loss", r.loss},
      {"ops", ops},
  };
  write_text_atomically(path, json.dump(2) + "\n", /*durable=*/false);
}

}  // namespace ddp
