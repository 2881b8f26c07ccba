// NCCL's functions by a table, filled from the library that the rank found: a rank alone needs no NCCL, so the module
// does not need it either, and a machine may have it in any folder. The header is still that of the build. Rejected:
// linking it, which leaves the search to the dynamic linker.
#pragma once

#include <nccl.h>

#include <string>

namespace ddp {

// What the project calls; NCCL 2.18 has them all.
#define DDP_NCCL_FUNCTIONS(f)                                                                              \
  f(ncclGetVersion) f(ncclGetErrorString) f(ncclGetLastError) f(ncclGetUniqueId) f(ncclCommInitRankConfig) \
      f(ncclCommGetAsyncError) f(ncclCommFinalize) f(ncclCommDestroy) f(ncclCommAbort) f(ncclGroupStart)   \
          f(ncclGroupEnd) f(ncclSend) f(ncclRecv) f(ncclAllReduce) f(ncclReduceScatter) f(ncclBroadcast)   \
              f(ncclAllGather)

struct NcclApi {
#define DDP_MEMBER(name) decltype(&::name) name;
  DDP_NCCL_FUNCTIONS(DDP_MEMBER)
#undef DDP_MEMBER

  int version() const;  // 22809 for 2.28.9; makes NCCL read no variable of the environment
  // Errors: os_resource (71) naming the call and NCCL's reason. `comm` may be null.
  void check(ncclResult_t result, ncclComm_t comm, const char* call) const;
  std::string error_text(ncclResult_t result, ncclComm_t comm, const char* call) const;
};

// Of a handle that dlopen gave; it stays open as long as the table is used. Errors: usage (64) naming the first
// function that it lacks, and its version.
NcclApi load_nccl(void* library);

std::string nccl_version_text(int version);  // "2.28.9"
// What to do about it, where /dev/shm is of so many bytes: GPUs that cannot reach each other exchange through files
// there, some 10 MB for each pair of neighbours and channel.
std::string nccl_advice(ncclResult_t result, int64_t shared_memory_bytes);
int64_t shared_memory_bytes();  // of /dev/shm

}  // namespace ddp
