// Gloo's side of the all-reduce benchmark: forks its ranks, which meet through files and talk TCP over loopback (Gloo
// has no shared-memory transport); prints the median, ms.
#include <gloo/allreduce.h>
#include <gloo/barrier.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "tests/bench/allreduce_timing.h"

using namespace ddp::bench;

namespace {

double run(int rank, int size, const std::string& folder, const Workload& work) {
  gloo::rendezvous::FileStore store(folder);
  gloo::transport::tcp::attr address;
  address.hostname = "127.0.0.1";
  auto device = gloo::transport::tcp::CreateDevice(address);
  auto context = std::make_shared<gloo::rendezvous::Context>(rank, size);
  context->connectFullMesh(store, device);
  uint32_t tag = 0;
  const auto barrier = [&] {
    gloo::BarrierOptions options(context);
    options.setTag(++tag);
    gloo::barrier(options);
  };
  const double ms = time_blocking(work, rank, size, barrier, [&](float* x, int64_t n) {
    gloo::AllreduceOptions options(context);
    options.setOutput(x, size_t(n));
    options.setReduceFunction(
        [](void* c, const void* a, const void* b, size_t count) { gloo::sum<float>(c, a, b, count); });
    options.setTag(++tag);
    gloo::allreduce(options);
  });
  barrier();
  return ms;
}

}  // namespace

int main(int argc, char** argv) {
  const Workload work = Workload::parse(argc, argv, 2);
  const int size = std::atoi(argv[1]);
  char folder[] = "/tmp/bench-gloo-XXXXXX";
  if (::mkdtemp(folder) == nullptr) return 1;
  for (int rank = 1; rank < size; ++rank)
    if (::fork() == 0) {
      run(rank, size, folder, work);
      ::_exit(0);
    }
  fmt::print("{}\n", run(0, size, folder, work));
  while (::wait(nullptr) > 0) {}
  std::filesystem::remove_all(folder);
}
