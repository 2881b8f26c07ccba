// The variables by which NCCL is configured: to be set before its first call, which reads them.
#pragma once

#include "runtime/board/board.h"

namespace ddp {

// NCCL_SOCKET_IFNAME=lo where the user did not set it. Where ranks share a GPU, which NCCL refuses to ranks of one
// host, either NCCL_MULTI_RANK_GPU_ENABLE (from 2.30.3 on), or a NCCL_HOSTID for each rank: NCCL then takes them for
// hosts, and connects them by sockets; what sharing needs is set whatever the user set. Rank 0 logs the version and the
// NCCL_* variables in force.
void prepare_nccl_environment(int version, const BoardLayout& board, int rank, bool shares_gpu);

}  // namespace ddp
