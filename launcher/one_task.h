// Launchers that start a task for each rank: ddp-launch starts its ranks itself, so one of it is enough.
#pragma once

namespace ddp {

// Errors: usage (64) where srun, mpirun or torchrun has started this command more than once.
void check_is_only_task();

}  // namespace ddp
