#include "runtime/comm/nccl_api.h"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include "runtime/base/error.h"
#include "runtime/base/library_function.h"

namespace ddp {
namespace {

constexpr int64_t kAmpleSharedMemory = int64_t(1) << 30;

[[noreturn]] void fail_missing(const NcclApi& api, const char* name) {
  const bool has_version = api.ncclGetVersion != nullptr;
  throw Error(
      ExitCode::usage,
      fmt::format("the NCCL library{} lacks {}", has_version ? " " + nccl_version_text(api.version()) : "", name),
      "install NCCL 2.18 or newer");
}

}  // namespace

NcclApi load_nccl(void* library) {
  NcclApi api{};
#define DDP_FIND(name) \
  if (!find_function(library, #name, api.name)) fail_missing(api, #name);
  DDP_NCCL_FUNCTIONS(DDP_FIND)
#undef DDP_FIND
  return api;
}

int NcclApi::version() const {
  int version = 0;
  return ncclGetVersion(&version) == ncclSuccess ? version : 0;
}

std::string NcclApi::error_text(ncclResult_t result, ncclComm_t comm, const char* call) const {
  const char* detail = comm != nullptr ? ncclGetLastError(comm) : nullptr;
  const bool has_detail = detail != nullptr && detail[0] != '\0';
  return fmt::format("{}: {}{}{}", call, ncclGetErrorString(result), has_detail ? ": " : "", has_detail ? detail : "");
}

void NcclApi::check(ncclResult_t result, ncclComm_t comm, const char* call) const {
  if (result == ncclSuccess) return;
  throw Error(ExitCode::os_resource, error_text(result, comm, call), nccl_advice(result, shared_memory_bytes()));
}

std::string nccl_version_text(int version) {
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

int64_t shared_memory_bytes() {
  struct statvfs s;
  return ::statvfs("/dev/shm", &s) == 0 ? int64_t(s.f_blocks) * int64_t(s.f_frsize) : 0;
}

std::string nccl_advice(ncclResult_t result, int64_t shared_memory_bytes) {
  const std::string more = "NCCL_DEBUG=INFO says more";
  if (result != ncclSystemError || shared_memory_bytes >= kAmpleSharedMemory) return more;
  return fmt::format(
      "/dev/shm has {} MB, perhaps too few: in Docker start the container with --shm-size=1g or --ipc=host, and with "
      "--cap-add SYS_NICE, without which NCCL's host memory lies in /dev/shm too; {}",
      shared_memory_bytes >> 20, more);
}

}  // namespace ddp
