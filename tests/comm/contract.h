// What differs between the communicators under the contract's tests (contract_test.cpp), which are linked once with the
// CPU's (cpu_worlds.cpp) and once with NCCL's on simulated GPUs (tests/cuda_sim/comm).
#pragma once

#include <functional>

#include "tests/comm/rank_harness.h"

namespace ddp::test {

inline constexpr int64_t kContractSymmetricBytes = 24 << 20;

// Runs the body on every rank of each world, and checks that all ranks end well.
void in_every_world(const RankBody& body);

// Host code in the place of a kernel; `work` lives until it has run.
void enqueue_work(Stream& stream, const std::function<void()>& work);

}  // namespace ddp::test
