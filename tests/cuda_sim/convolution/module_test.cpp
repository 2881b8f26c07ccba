// A convolution as a rank runs it: by a module and by cuDNN's library, each found by the product's own search.
#include <dlfcn.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <vector>

#include "kernels/ops.h"
#include "runtime/rank/cuda_backend.h"

using namespace ddp;

TEST_CASE("a rank's library of cuDNN is the simulated one, and convolves") {
  const CudaBackend& backend = open_cuda_backend();
  void* cudnn = open_cudnn();
  Dl_info where = {};
  REQUIRE(::dladdr(::dlsym(cudnn, "cudnnBackendExecute"), &where) != 0);
  CHECK(std::filesystem::equivalent(where.dli_fname, std::getenv("DDP_CUDA_MODULE")));

  const std::unique_ptr<Device> device = backend.make_device({.workspace_bytes = 1 << 20, .cudnn = cudnn});
  Stream stream(*device, StreamRole::compute);
  const Exec exec{.table = &backend.op_table(/*tf32=*/false), .stream = &stream};
  std::vector<float> x = {1, 2, 3, 4}, w = {10, 100}, y(2);  // simulated kernels take the host's memory
  const auto view = [](std::vector<float>& values, const Shape& shape) {
    return TensorView(values.data(), DType::f32, shape);
  };
  convolution_forward(
      exec,
      {.y = view(y, {1, 1, 2, 1}), .x = view(x, {1, 1, 4, 1}), .w = view(w, {1, 1, 2, 1}), .window = {.stride = 2}});
  Event done(*device);
  done.record(stream);
  done.synchronize({.timeout_ms = 60'000});
  CHECK(y == std::vector<float>{210, 430});
}
