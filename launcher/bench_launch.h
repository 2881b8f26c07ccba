// `ddp-launch bench launch`: what a launch costs, with ranks that only meet and leave.
#pragma once

#include "launcher/cli.h"
#include "launcher/signals.h"

namespace ddp {

// Prints the start-up budget: medians of each stage's slowest rank. `launched_ns`: when the program's main began.
// Errors: internal (70) when a rank fails, os_resource (71).
void bench_launch(const BenchOptions& options, int64_t launched_ns, const Signals& signals);

}  // namespace ddp
