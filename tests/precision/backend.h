// The backend whose mixed precision is measured here: the CPU's (cpu_backend.cpp), and in tests/cuda_sim/precision
// CUDA's under simulation.
#pragma once

#include "kernels/op_table.h"

namespace ddp::test {

std::unique_ptr<Device> make_measured_device();
const OpTable& measured_op_table();
std::vector<DType> measured_types();  // of 16 bits
int64_t num_curve_steps();

}  // namespace ddp::test
