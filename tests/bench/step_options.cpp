#include "tests/bench/step_options.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <vector>

#include "models/options_registry.h"
#include "runtime/base/error.h"
#include "runtime/base/number.h"
#include "runtime/config/fields.h"

namespace ddp {
namespace {

// Options that are a key of the configuration, which checks their values.
const std::map<std::string_view, std::vector<std::string_view>> kKeys = {
    {"--precision", {"train.precision"}}, {"--batch", {"train.micro_batch", "train.global_batch"}},
    {"--context", {"model.context"}},     {"--layers", {"model.layers"}},
    {"--width", {"model.width"}},         {"--heads", {"model.heads"}},
    {"--vocab", {"model.vocab"}},
};

Error usage(const std::string& what) {
  return Error(ExitCode::usage, what,
               "usage: bench_step [--device cpu|cuda] [--precision fp32|tf32|bf16|fp16] [--threads N] [--steps N] "
               "[--model PRESET] [--batch B] [--context T] [--layers L] [--width C] [--heads H] [--vocab V] "
               "[--set KEY=VALUE] [--graphs] [--no-ops] [--json FILE]");
}

// The overrides that make a model of this preset, with the settings that it is mostly measured in.
std::vector<std::string> model_of_preset(const std::string& preset) {
  for (const ModelKind* kind : config_registry().models) {
    const Field* field = find_field(sections_of(*kind), "model", "preset");
    if (field == nullptr || std::ranges::count(choices_of(*field, config_registry()), preset) == 0) continue;
    std::vector<std::string> out = {fmt::format("model.name={}", kind->name), "model.preset=" + preset};
    if (kind->name == "gpt2") out.emplace_back("model.context=256");
    if (kind->name == "resnet") out.insert(out.end(), {"optimizer.name=sgd", "data.format=synthetic"});
    return out;
  }
  throw usage("no model has the preset " + preset);
}

int positive(std::string_view option, const std::string& text) {
  const auto number = parse_number<int>(text);
  if (!number || *number < 1) throw usage(std::string(option) + " " + text + " is no positive number");
  return *number;
}

}  // namespace

StepBenchOptions parse_step_options(int argc, char** argv) {
  StepBenchOptions options;
  // The batch is made here; the configuration wants a file's name all the same.
  std::vector<std::string> overrides = {
      "data.train=none",
      "train.micro_batch=4",
      "train.global_batch=4",
  };
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    const auto value = [&]() -> std::string {
      if (i + 1 == argc) throw usage(std::string(option) + " has no value");
      return argv[++i];
    };
    if (const auto keys = kKeys.find(option); keys != kKeys.end()) {
      const std::string text = value();
      for (const std::string_view key : keys->second) overrides.push_back(std::string(key) + "=" + text);
    } else if (option == "--device") {
      const std::string device = value();
      if (device != "cpu" && device != "cuda") throw usage("--device " + device + " is neither cpu nor cuda");
      options.is_cuda = device == "cuda";
    } else if (option == "--model") {
      options.model = value();
    } else if (option == "--set") {
      overrides.push_back(value());
    } else if (option == "--threads") {
      options.threads = positive(option, value());
    } else if (option == "--steps") {
      options.steps = positive(option, value());
    } else if (option == "--graphs") {
      overrides.push_back("train.cuda_graph=true");
    } else if (option == "--no-ops") {
      options.by_op = false;
    } else if (option == "--json") {
      options.json = value();
    } else {
      throw usage("unknown option " + std::string(option));
    }
  }
  const std::vector<std::string> defaults = model_of_preset(options.model);
  overrides.insert(overrides.begin(), defaults.begin(), defaults.end());
  options.config = parse_config("", "bench_step", config_registry(), overrides);
  options.config.train.steps = std::max<int64_t>(options.config.train.steps, options.steps + 10);  // and the warm-up
  check_config(options.config, /*ranks=*/1);
  if (options.config.train.precision == PrecisionName::tf32 && !options.is_cuda)
    throw usage("--precision tf32 needs --device cuda");
  return options;
}

}  // namespace ddp
