#include "kernels/cuda/cudnn_api.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

#include "runtime/base/error.h"
#include "runtime/base/library_function.h"

namespace ddp::cuda {
namespace {

[[noreturn]] void fail_missing(const CudnnApi& api, const char* name) {
  const std::string version = api.cudnnGetVersion != nullptr ? " " + api.version() : "";
  throw Error(ExitCode::usage, fmt::format("the cuDNN library{} lacks {}", version, name),
              "install cuDNN 9.0 or newer");
}

}  // namespace

CudnnApi load_cudnn(void* library) {
  CudnnApi api{};
#define DDP_FIND(name) \
  if (!find_function(library, #name, api.name)) fail_missing(api, #name);
  DDP_CUDNN_FUNCTIONS(DDP_FIND)
#undef DDP_FIND
  return api;
}

std::string CudnnApi::version() const {
  const size_t version = cudnnGetVersion();
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

std::string CudnnApi::error_text(cudnnStatus_t status, const char* call) const {
  std::array<char, 512> detail = {};
  cudnnGetLastErrorString(detail.data(), detail.size() - 1);
  // A line: what it says on several is for cuDNN's own developers.
  const std::string_view first_line =
      std::string_view(detail.data()).substr(0, std::string_view(detail.data()).find('\n'));
  return fmt::format("{}: {}{}{}", call, cudnnGetErrorString(status), first_line.empty() ? "" : ": ", first_line);
}

void CudnnApi::check(cudnnStatus_t status, const char* call) const {
  if (status != CUDNN_STATUS_SUCCESS) throw Error(ExitCode::os_resource, error_text(status, call));
}

}  // namespace ddp::cuda
