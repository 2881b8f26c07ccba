// Which plan is chosen of those that the simulated cuDNN offers, and what it reports of one that should not have been.
// Its engines: tests/cuda_sim/api/cudnn.cpp.
#include <dlfcn.h>

#include <catch2/catch.hpp>
#include <optional>

#include "kernels/cuda/cudnn_plan.h"
#include "runtime/base/error.h"
#include "tests/cuda_sim/on_device.h"
#include "tests/cuda_sim/report.h"

using namespace ddp;
using namespace ddp::cuda;
using Catch::Contains;

namespace {

constexpr int64_t kMiB = 1 << 20;

CudnnApi linked_cudnn() { return load_cudnn(::dlopen(nullptr, RTLD_NOW)); }

struct Choice {
  CudnnApi api = linked_cudnn();
  cudnnHandle_t handle = nullptr;

  Choice() { REQUIRE(api.cudnnCreate(&handle) == CUDNN_STATUS_SUCCESS); }
  ConvolutionPlan of(const ConvolutionTask& task) const {
    return choose_plan(api, task, [this](Descriptor& d) {
      if (d.type() == CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR) d.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, handle);
      if (d.type() == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) d.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, handle);
    });
  }
};

// A layer of ResNet-50, small.
ConvolutionTask task(DType type, int64_t workspace_bytes, bool tf32 = false) {
  return {.kind = ConvolutionKind::forward,
          .type = type,
          .tf32 = tf32,
          .x = {2, 7, 7, 8},
          .w = {16, 3, 3, 8},
          .y = {2, 7, 7, 16},
          .stride = 1,
          .padding = 1,
          .alignment = 16,
          .workspace_bytes = workspace_bytes};
}

std::string refusal(const ConvolutionTask& task) {
  try {
    Choice().of(task);
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::os_resource);
    return error.what();
  }
  return "";
}

void check_choice(const ConvolutionPlan& plan, int64_t engine, int passed_over) {
  CHECK(plan.engine == engine);
  CHECK(plan.num_passed_over == passed_over);
}

// Executes a plan for that task; what the simulator reports of it.
struct Execution {
  test::Gpu gpu;
  Buffer<uint8_t> x{*gpu.device, 4096}, w{*gpu.device, 16384}, y{*gpu.device, 8192};
  int64_t offset = 0;  // of x, in bytes
  void* workspace = cuda_workspace(*gpu.device).memory;
  std::array<int64_t, 3> ids = kOperandIds;

  bool reports(const Choice& choice, const ConvolutionPlan& plan, std::string_view fault) {
    gpu.stream.zero(x.view());
    gpu.stream.zero(w.view());
    gpu.synchronize();
    const sim::ReportCollector collector;
    const std::array<void*, 3> operands = {x.data() + offset, w.data(), y.data()};
    Descriptor pack(choice.api, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack.set<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, std::span(ids));
    pack.set<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, std::span(operands));
    pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, workspace);
    pack.finalize();
    choice.api.cudnnSetStream(choice.handle, static_cast<cudaStream_t>(gpu.stream.handle()));
    choice.api.cudnnBackendExecute(choice.handle, plan.raw(), pack.raw());
    gpu.synchronize();
    return fault.empty() ? !collector.reports().empty() : collector.found(fault);
  }
};

}  // namespace

TEST_CASE(
    "cuDNN: engines of any order, of sums in 16 bits, of tf32, of a large workspace and of no plan are passed over") {
  const Choice choice;
  check_choice(choice.of(task(DType::f32, kMiB)), 5, 4);
  check_choice(choice.of(task(DType::f32, kMiB, /*tf32=*/true)), 2, 1);
  check_choice(choice.of(task(DType::f32, 700 * kMiB)), 3, 2);
  check_choice(choice.of(task(DType::f16, kMiB)), 5, 4);
  check_choice(choice.of(task(DType::bf16, kMiB)), 5, 4);
}

TEST_CASE("cuDNN: the fallback is asked where the heuristic's first list has nothing that fits") {
  check_choice(Choice().of(task(DType::f32, 0)), 6, 5);
}

TEST_CASE("a convolution that no workspace is large enough for is refused with what would do", "[no-fallback]") {
  CHECK(refusal(task(DType::f16, kMiB)).empty());
  CHECK(
      refusal(task(DType::f16, 1000)) ==
      "cuDNN has no deterministic plan for convolution_forward of [2, 7, 7, 8] by [16, 3, 3, 8], stride 1, padding 1, "
      "in f16 in a workspace of 1000 bytes: one wants 1024; start a run with train.workspace_mb 1; one "
      "that was begun on another GPU goes on there");
}

TEST_CASE("a convolution that has only engines of any order is refused", "[no-engine]") {
  CHECK(
      refusal(task(DType::f32, kMiB)) ==
      "cuDNN has no deterministic plan for convolution_forward of [2, 7, 7, 8] by [16, 3, 3, 8], stride 1, padding 1, "
      "in f32");
}

TEST_CASE("on a GPU of before 8.0 there is no convolution in bf16, and no engine of tf32 to pass over", "[turing]") {
  CHECK_THAT(refusal(task(DType::bf16, kMiB)), Contains("no deterministic plan") && Contains("in bf16"));
  check_choice(Choice().of(task(DType::f32, kMiB)), 5, 3);
}

TEST_CASE("cuDNN: a library that lacks a function is refused with its name and the library's version") {
  const auto refusal = [](void* library) -> std::string {
    try {
      load_cudnn(library);
    } catch (const Error& error) {
      CHECK(error.code() == ExitCode::usage);
      return error.what();
    }
    return "";
  };
  CHECK(refusal(::dlopen(OLD_CUDNN_PATH, RTLD_NOW | RTLD_LOCAL)) ==
        "the cuDNN library 9.1.2 lacks cudnnGetErrorString; install cuDNN 9.0 or newer");
  CHECK_THAT(refusal(::dlopen("libc.so.6", RTLD_NOW)), Contains("library lacks cudnnGetVersion"));
}

TEST_CASE("cuDNN: a call that fails is an error with the call, the status and the first line of cuDNN's reason") {
  const CudnnApi api = linked_cudnn();
  Descriptor tensor(api, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  CHECK_THROWS_WITH(tensor.finalize(), "cudnnBackendFinalize: CUDNN_STATUS_BAD_PARAM: an attribute is not set");
  CHECK_THROWS_WITH(tensor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, int64_t(4)), Contains("another type or count"));
  CHECK_THROWS_WITH(tensor.get(CUDNN_ATTR_TENSOR_UNIQUE_ID), Contains("not finalized"));
}

TEST_CASE("cuDNN: the simulator reports what should not be executed") {
  Choice choice;
  const ConvolutionPlan good = choice.of(task(DType::f16, kMiB));
  Execution execution;
  SECTION("nothing where all is well") { CHECK_FALSE(execution.reports(choice, good, "")); }
  SECTION("an engine of any order") {
    // Says that no engine has a numerical note.
    choice.api.cudnnBackendGetAttribute = [](cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                             cudnnBackendAttributeType_t type, int64_t wanted, int64_t* count,
                                             void* values) {
      return cudnnBackendGetAttribute(descriptor, name, type, name == CUDNN_ATTR_ENGINE_NUMERICAL_NOTE ? 0 : wanted,
                                      count, values);
    };
    const ConvolutionPlan first = choice.of(task(DType::f16, kMiB));
    CHECK(first.engine == 0);
    CHECK(execution.reports(choice, first, "cuDNN engine"));
  }
  SECTION("an operand that is less aligned than was said") {
    execution.offset = 2;
    CHECK(execution.reports(choice, good, "cuDNN alignment"));
  }
  SECTION("another tensor's id") {
    execution.ids = {1, 2, 4};
    CHECK(execution.reports(choice, good, "cuDNN operands"));
  }
  SECTION("a workspace that is none") {
    execution.workspace = nullptr;
    CHECK(execution.reports(choice, good, "cuDNN workspace"));
  }
}
