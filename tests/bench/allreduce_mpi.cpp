// Open MPI's side of the all-reduce benchmark, to be run under mpirun: prints the median, ms.
#include <mpi.h>

#include "tests/bench/allreduce_timing.h"

using namespace ddp::bench;

int main(int argc, char** argv) {
  const Workload work = Workload::parse(argc, argv, 1);
  MPI_Init(&argc, &argv);
  int rank = 0, size = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  const double ms = time_blocking(
      work, rank, size, [] { MPI_Barrier(MPI_COMM_WORLD); },
      [](float* x, int64_t n) { MPI_Allreduce(MPI_IN_PLACE, x, int(n), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD); });
  if (rank == 0) fmt::print("{}\n", ms);
  MPI_Finalize();
}
