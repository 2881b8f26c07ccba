// Looks for the libraries that ranks on GPUs will open, before the fork: so that one that is missing is told once and
// at once, and Python is asked where it has NVIDIA's wheels by one process, not by each rank.
#pragma once

#include <filesystem>
#include <string>

#include "runtime/base/cuda_libraries.h"

namespace ddp {

// For ranks that execute `rank_program`. Where the backend's needs are found without Python, empty; else the folders of
// its sys.path that hold them, between colons, of the first that has all: $VIRTUAL_ENV's, $CONDA_PREFIX's, python3 on
// PATH. Errors: usage (64) when a library is nowhere; none where there is no backend, which the ranks tell.
std::string search_cuda_libraries(const std::filesystem::path& rank_program, const OpenedLibraries& opened);

}  // namespace ddp
