// The command line of bench_step.
#pragma once

#include <filesystem>
#include <string>

#include "runtime/config/config.h"

namespace ddp {

struct StepBenchOptions {
  std::string model = "gpt2-small";  // a preset
  Config config;                     // B=4, GPT-2's T=256 where nothing else was asked for; one micro-batch a step
  bool is_cuda = false;
  int threads = 2;  // of the CPU's compute stream
  int steps = 7;    // that are measured, after the warm-up
  bool by_op = true;
  std::filesystem::path json;  // empty: none is written
};

// Errors: 64 with the usage for an unknown option or one without its value; 78 for values that the configuration
// refuses.
StepBenchOptions parse_step_options(int argc, char** argv);

}  // namespace ddp
