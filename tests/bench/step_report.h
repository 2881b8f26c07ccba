// What bench_step says of a result: to people, and as JSON.
#pragma once

#include <filesystem>

#include "tests/bench/step_bench.h"

namespace ddp {

double median(std::vector<double> values);
void print(const StepResult& result);
// Errors: 74.
void write_json(const StepResult& result, const std::filesystem::path& path);

}  // namespace ddp
