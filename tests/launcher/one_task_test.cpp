// What other launchers tell the tasks that they start.
#include "launcher/one_task.h"

#include <catch2/catch.hpp>
#include <cstdlib>

#include "tests/support/failure.h"

namespace ddp {
namespace {

using Catch::Contains;

test::Failure failure_with(const char* variable, const char* value) {
  ::setenv(variable, value, 1);
  test::Failure failure = test::failure_of(check_is_only_task);
  ::unsetenv(variable);
  return failure;
}

TEST_CASE("one of several tasks of srun, mpirun or torchrun is refused, and one alone is not") {
  const test::Failure srun = failure_with("SLURM_STEP_NUM_TASKS", "4");
  CHECK(srun.code == 64);
  CHECK_THAT(srun.message, Contains("srun started 4 of these (SLURM_STEP_NUM_TASKS)") && Contains("--ntasks=1"));
  CHECK_THAT(failure_with("OMPI_COMM_WORLD_SIZE", "2").message, Contains("mpirun started 2"));
  CHECK_THAT(failure_with("PMI_SIZE", "2").message, Contains("mpiexec started 2"));
  CHECK_THAT(failure_with("LOCAL_WORLD_SIZE", "8").message, Contains("torchrun started 8"));
  for (const char* value : {"1", "0", "", "many", "4\n"}) CHECK(failure_with("SLURM_STEP_NUM_TASKS", value).code == 0);
  CHECK(failure_with("SLURM_NTASKS", "4").code == 0);  // of a batch script, which runs once
}

}  // namespace
}  // namespace ddp
