#include "launcher/one_task.h"

#include <fmt/format.h>

#include "runtime/base/error.h"
#include "runtime/base/number.h"
#include "runtime/base/text_check.h"

namespace ddp {
namespace {

// What a launcher tells its tasks: how many they are.
struct TaskLauncher {
  const char* name;
  const char* variable;
  const char* advice;
};
// SLURM_NTASKS would be wrong: a batch script has it too, and runs once.
constexpr TaskLauncher kTaskLaunchers[] = {
    {"srun", "SLURM_STEP_NUM_TASKS", "srun --ntasks=1, with --gpus and --cpus-per-task for all of its ranks"},
    {"mpirun", "OMPI_COMM_WORLD_SIZE", "start it without mpirun"},
    {"mpiexec", "PMI_SIZE", "start it without mpiexec"},
    {"torchrun", "LOCAL_WORLD_SIZE", "start it without torchrun"},
};

}  // namespace

void check_is_only_task() {
  for (const TaskLauncher& launcher : kTaskLaunchers) {
    const std::optional<std::string> value = plain_variable(launcher.variable);
    if (!value || parse_number<int64_t>(*value).value_or(1) <= 1) continue;
    throw Error(ExitCode::usage,
                fmt::format("{} started {} of these ({}), and one ddp-launch starts all ranks itself", launcher.name,
                            *value, launcher.variable),
                launcher.advice);
  }
}

}  // namespace ddp
