#include "tests/cuda_sim/api/nccl_world.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "tests/cuda_sim/api/gpu.h"

namespace ddp::sim {
namespace {

constexpr size_t kHeaderBytes = (sizeof(NcclWorld) + 4095) / 4096 * 4096;

size_t world_bytes(int num_ranks) { return kHeaderBytes + size_t(num_ranks) * kPostBytes; }

void* map(int fd, size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

}  // namespace

// The descriptor stays open for as long as its process lives: the others open it through /proc.
bool create_world(ncclUniqueId& id) {
  const int fd = ::memfd_create("sim-nccl", MFD_CLOEXEC);
  if (fd < 0 || ::ftruncate(fd, off_t(world_bytes(kMaxNcclRanks))) != 0) return false;
  auto* world = static_cast<NcclWorld*>(map(fd, kHeaderBytes));
  if (world == nullptr) return false;
  world->seed = seed();
  ::munmap(world, kHeaderBytes);
  std::memset(&id, 0, sizeof id);
  std::snprintf(id.internal, sizeof id.internal, "/proc/%d/fd/%d", int(::getpid()), fd);
  return true;
}

NcclWorld* open_world(const ncclUniqueId& id, int num_ranks) {
  const int fd = ::open(id.internal, O_RDWR | O_CLOEXEC);
  if (fd < 0) return nullptr;
  auto* world = static_cast<NcclWorld*>(map(fd, world_bytes(num_ranks)));
  ::close(fd);
  return world;
}

void close_world(NcclWorld* world, int num_ranks) { ::munmap(world, world_bytes(num_ranks)); }

std::byte* post_of(NcclWorld* world, int rank) {
  return reinterpret_cast<std::byte*>(world) + kHeaderBytes + size_t(rank) * kPostBytes;
}

}  // namespace ddp::sim
