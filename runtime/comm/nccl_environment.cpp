#include "runtime/comm/nccl_environment.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <string_view>

#include "runtime/base/log.h"
#include "runtime/comm/nccl_api.h"

namespace ddp {
namespace {

constexpr int kMultiRankGpuVersion = 23003;

void set(const char* name, const std::string& value) { ::setenv(name, value.c_str(), /*overwrite=*/1); }

// The launcher and its start: the same for the ranks of a run, and for no other run.
std::string job_name(const BoardLayout& board) { return fmt::format("ddp-{}-{:x}", ::getppid(), board.launched_ns); }

void share_gpu(int version, const BoardLayout& board, int rank) {
  set("NCCL_SOCKET_IFNAME", "lo");
  set("NCCL_RAS_ENABLE", "0");
  if (version >= kMultiRankGpuVersion) return set("NCCL_MULTI_RANK_GPU_ENABLE", "1");
  set("NCCL_HOSTID", fmt::format("{}-rank{}", job_name(board), rank));
  set("NCCL_NET", "Socket");
  set("NCCL_IB_DISABLE", "1");
  set("NCCL_MNNVL_ENABLE", "0");
}

}  // namespace

void prepare_nccl_environment(int version, const BoardLayout& board, int rank, bool shares_gpu) {
  ::setenv("NCCL_SOCKET_IFNAME", "lo",
           /*overwrite=*/0);  // ranks of one host; NCCL may else pick an interface that is down
  if (shares_gpu) share_gpu(version, board, rank);
  if (rank != 0) return;
  std::string settings;
  for (char** entry = environ; *entry != nullptr; ++entry)
    if (std::string_view(*entry).starts_with("NCCL_")) settings += std::string(" ") + *entry;
  log::info("NCCL {}:{}", nccl_version_text(version), settings);
  if (shares_gpu)
    log::info("ranks share a GPU, for tests: by {}",
              version >= kMultiRankGpuVersion ? "NCCL_MULTI_RANK_GPU_ENABLE" : "a NCCL_HOSTID each");
}

}  // namespace ddp
