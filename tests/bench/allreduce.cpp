// bench_allreduce [ROUNDS]: our shared-memory all-reduce beside Gloo's and Open MPI's, where those were found when this
// was built. Each round runs every library once, so that all see the same machine; the table has the medians over
// rounds.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "runtime/comm/communicator.h"
#include "tests/bench/allreduce_timing.h"

using namespace ddp;
using namespace ddp::bench;

namespace {

constexpr int64_t kMiB = 1 << 20;

struct Case {
  int ranks;
  int64_t mib;
  int iterations;
};
constexpr Case kCases[] = {{2, 25, 150}, {2, 100, 30}, {4, 25, 60}, {4, 100, 12}};

// One rank: the time between two events on the communication stream, as the trainer sees it. Gradients are in symmetric
// memory.
double run_rank(int rank, Board& board, Fd memory, const Workload& work) {
  const int size = int(board->world_size);
  const int spin_pauses = size <= int(std::thread::hardware_concurrency()) ? 2000 : 0;
  const WaitPolicy wait{.abort_word = &board->abort_word, .timeout_ms = 30'000, .spin_pauses = spin_pauses};
  const auto device = make_cpu_device({.num_threads = 1, .spin_pauses = spin_pauses});
  const int64_t bytes = work.elements * int64_t(sizeof(float));
  const auto comm =
      make_shm_comm(*device, board, std::move(memory), {.rank = rank, .symmetric_bytes = bytes, .wait = wait});
  auto* x = static_cast<float*>(comm->allocate_symmetric(bytes));
  const TensorView view{x, DType::f32, {work.elements}};
  std::vector<Event> begin, end;
  for (int i = 0; i <= work.iterations; ++i) begin.emplace_back(*device), end.emplace_back(*device);
  Stream stream(*device, StreamRole::communication);
  const auto enqueue = [&](size_t i) {
    comm->barrier(stream);
    begin[i].record(stream);
    comm->all_reduce(view, stream);
    end[i].record(stream);
  };
  const auto wait_for = [&](size_t i) { end[i].synchronize({.timeout_ms = 60'000, .spin_pauses = 0}); };

  fill(x, work.elements, rank);
  enqueue(0);
  wait_for(0);
  check_sum(x, work.elements, size);
  fill(x, work.elements, 0);
  // As the trainer does it: the host runs ahead and looks at the times afterwards.
  for (size_t i = 1; i < end.size(); ++i) enqueue(i);
  wait_for(end.size() - 1);
  std::vector<double> times;
  for (size_t i = 1; i < end.size(); ++i) times.push_back(end[i].ms_since(begin[i]));
  return median(times);
}

double run_ours(int ranks, const Workload& work) {
  Board board = Board::create(ranks);
  const int memory = ::memfd_create("bench-segment", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  for (int rank = 1; rank < ranks; ++rank)
    if (::fork() == 0) {
      run_rank(rank, board, Fd(memory), work);
      ::_exit(0);
    }
  const double ms = run_rank(0, board, Fd(memory), work);
  while (::wait(nullptr) > 0) {}
  return ms;
}

// The number that a command prints; NaN when it fails.
double run_command(const std::string& command) {
  double ms = NAN;
  FILE* output = ::popen(command.c_str(), "r");
  if (output == nullptr) return NAN;
  if (std::fscanf(output, "%lf", &ms) != 1) ms = NAN;
  return ::pclose(output) == 0 ? ms : NAN;
}

std::string sibling(const char* name) {
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / name).string();
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 5;
  const std::string gloo = sibling("bench_allreduce_gloo"), mpi = sibling("bench_allreduce_mpi");
  const bool has_gloo = std::filesystem::exists(gloo), has_mpi = std::filesystem::exists(mpi);
  fmt::print("all-reduce f32, median of {} rounds, ms{}{}\n", rounds, has_gloo ? "" : "; built without Gloo",
             has_mpi ? "" : "; built without Open MPI");
  fmt::print("{:>5} {:>5} {:>9} {:>9} {:>9} {:>8} {:>8}\n", "ranks", "MiB", "ours", "Gloo", "Open MPI", "x Gloo",
             "x MPI");
  for (const Case& c : kCases) {
    const Workload work{c.mib * kMiB / int64_t(sizeof(float)), c.iterations};
    std::vector<double> ours, gloos, mpis;
    for (int round = 0; round < rounds; ++round) {
      ours.push_back(run_ours(c.ranks, work));
      gloos.push_back(has_gloo ? run_command(fmt::format("'{}' {} {}", gloo, c.ranks, work.arguments())) : NAN);
      mpis.push_back(
          has_mpi ? run_command(fmt::format("mpirun -n {} --allow-run-as-root --oversubscribe '{}' {} 2>/dev/null",
                                            c.ranks, mpi, work.arguments()))
                  : NAN);
    }
    const double a = median(ours), b = median(gloos), m = median(mpis);
    fmt::print("{:>5} {:>5} {:>9.2f} {:>9.2f} {:>9.2f} {:>8.1f} {:>8.1f}\n", c.ranks, c.mib, a, b, m, b / a, m / a);
    std::fflush(stdout);
  }
}
