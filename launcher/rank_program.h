// Which ddp-rank this machine executes. A build for several machine types (-Dcpu_archs) has one for each: the kernels
// of the newest that the processor runs are chosen, since those of x86-64-v3 alone would halve the speed of a newer
// one.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace ddp {

// File names of the ddp-rank of each machine type in `archs` ("x86-64-v3,x86-64-v4,...", ascending) that `runs`, newest
// first. Errors: os_resource (71), naming what the processor would have to be, when it runs none.
std::vector<std::string> rank_programs(std::string_view archs, const std::function<bool(std::string_view)>& runs);

// $DDP_RANK where set, else the best that lies beside this program or where the build folder has it. Errors:
// os_resource (71).
std::filesystem::path find_rank_program();

}  // namespace ddp
