// The CPU kernels are built for one machine type. A binary that was copied to a lesser machine says so instead of dying
// of SIGILL.
#pragma once

namespace ddp {

// The first instruction set that the kernels use and this processor lacks; nullptr where it has all.
const char* missing_cpu_feature();

}  // namespace ddp
