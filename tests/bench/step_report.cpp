#include "tests/bench/step_report.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

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
  const std::string where =
      r.options.is_cuda ? r.device + (r.graphs ? ", as graphs" : "") : fmt::format("{} threads", r.options.threads);
  return fmt::format("{} ({:.1f} M parameters), B={} of {} {}, {}, {}", r.options.model, double(r.parameters) * 1e-6,
                     r.options.config.train.micro_batch, r.unit.per_sample, r.unit.plural,
                     name_of(r.options.config.train.precision), where);
}

void print_ops(const StepResult& r) {
  const double step_ms = r.step_ms.back();
  std::vector<std::pair<std::string, OpTimer::Cost>> ops(r.ops.begin(), r.ops.end());
  std::sort(ops.begin(), ops.end(), [](const auto& a, const auto& b) { return a.second.ms > b.second.ms; });
  fmt::print("\n{:<24} {:>6} {:>9} {:>7} {:>9} {:>8}\n", "op (one step, timed)", "calls", "ms", "%", "GFLOP/s", "GB/s");
  OpTimer::Cost products;
  for (const auto& [name, c] : ops) {
    fmt::print("{:<24} {:>6} {:>9.2f} {:>6.1f}% {:>9.1f} {:>8.1f}\n", name, c.calls, c.ms, 100 * c.ms / step_ms,
               double(c.flops) / c.ms * 1e-6, double(c.bytes) / c.ms * 1e-6);
    if (name.starts_with("linear") || name.starts_with("convolution")) products.flops += c.flops, products.ms += c.ms;
  }
  const double share = double(products.flops) / products.ms / (r.ceiling_flops / median(r.ceiling_ms));
  fmt::print("products alone: {}, {:.1f}% of the ceiling\n", rate_text(double(products.flops), products.ms),
             100 * share);
}

}  // namespace

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void print(const StepResult& r) {
  const double ms = median(r.step_ms), ceiling_ms = median(r.ceiling_ms);
  fmt::print("\n{}: {:.0f} GFLOP in {:.1f} ms = {}\n", setting_text(r), r.square_flops * 1e-9, ms,
             rate_text(r.square_flops, ms));
  fmt::print("{}: {}\n", r.ceiling_name, rate_text(r.ceiling_flops, ceiling_ms));
  fmt::print("ratio {:.1f}%\n", 100 * (r.square_flops / ms) / (r.ceiling_flops / ceiling_ms));
  const bool has_halves = r.flops != r.square_flops;
  fmt::print("{}{:.0f} GFLOP: MFU {:.1f}% of {}\n", has_halves ? "counting what attention computes, " : "",
             r.flops * 1e-9, 100 * mfu(r), r.ceiling_name);
  fmt::print("{:.4g} {}/s; the host enqueues a step in {:.2f} ms\n", double(r.units) / ms * 1e3, r.unit.plural,
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
      {"model", r.options.model},
      {"units_per_sample", r.unit.per_sample},
      {"parameters", r.parameters},
      {"step_ms", ms},
      {"step_ms_all", r.step_ms},
      {"host_ms", median(r.host_ms)},
      {"unit", r.unit.plural},
      {"units_per_s", double(r.units) / ms * 1e3},
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
