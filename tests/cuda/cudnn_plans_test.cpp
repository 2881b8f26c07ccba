// The real cuDNN plans for GPUs that are not there: their properties are those of gpus/*.json (GPUS_FOLDER). Which plan
// the product's choice takes for the convolutions of ResNet-50, and that there is one. Skipped where there is no cuDNN.
#include <fmt/core.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>

#include "kernels/cuda/cudnn_plan.h"
#include "runtime/base/error.h"
#include "runtime/base/fs.h"
#include "runtime/rank/cuda_backend.h"

using namespace ddp;
using namespace ddp::cuda;

namespace {

constexpr int kSkipped = 77;
constexpr int64_t kMiB = 1 << 20;

const CudnnApi& cudnn() {
  static const CudnnApi api = [] {
    try {
      return load_cudnn(open_cudnn());
    } catch (const Error& error) {
      fmt::print(stderr, "skipped: {}\n", error.what());
      std::_Exit(kSkipped);
    }
  }();
  return api;
}

// A GPU by its properties.
class AbsentGpu {
 public:
  explicit AbsentGpu(const std::string& name) : properties_(cudnn(), CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR) {
    const std::string json = read_text(GPUS_FOLDER "/" + name + ".json");
    properties_.set<char>(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, std::span(json));
    properties_.finalize();
  }
  ConvolutionPlan choose(const ConvolutionTask& task) const {
    return choose_plan(cudnn(), task, [this](Descriptor& descriptor) {
      if (descriptor.type() == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR)
        descriptor.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, properties_);
      if (descriptor.type() == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)
        descriptor.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, properties_);
    });
  }

 private:
  Descriptor properties_;
};

struct Layer {
  int64_t channels, outputs, size, window, stride;
};
// What ResNet-50 convolves with: its 1x1 convolutions are linear layers. A pixel of the stem is padded to 16 bytes.
std::vector<Layer> resnet50(DType type) {
  return {{type == DType::f32 ? 4 : 8, 64, 224, 7, 2},
          {64, 64, 56, 3, 1},
          {128, 128, 56, 3, 2},
          {128, 128, 28, 3, 1},
          {256, 256, 28, 3, 2},
          {256, 256, 14, 3, 1},
          {512, 512, 14, 3, 2},
          {512, 512, 7, 3, 1}};
}

ConvolutionTask task_of(ConvolutionKind kind, DType type, bool tf32, const Layer& l, int64_t images,
                        int64_t workspace_bytes) {
  const Window window = {.stride = l.stride, .padding = l.window / 2};
  const int64_t out = num_windows(l.size, l.window, window);
  return {.kind = kind,
          .type = type,
          .tf32 = tf32,
          .x = {images, l.size, l.size, l.channels},
          .w = {l.outputs, l.window, l.window, l.channels},
          .y = {images, out, out, l.outputs},
          .stride = window.stride,
          .padding = window.padding,
          .alignment = 16,
          .workspace_bytes = workspace_bytes};
}

// Of every layer and op that a step runs: nobody asks for the gradient of an image.
template <class F>
void for_each_task(DType type, bool tf32, int64_t images, int64_t workspace_bytes, F f) {
  for (const Layer& layer : resnet50(type))
    for (const auto kind :
         {ConvolutionKind::forward, ConvolutionKind::backward_input, ConvolutionKind::backward_weight})
      if (kind != ConvolutionKind::backward_input || layer.window != 7)
        f(task_of(kind, type, tf32, layer, images, workspace_bytes));
}

bool has_note(const ConvolutionPlan& plan, cudnnBackendNumericalNote_t note) {
  const Descriptor& config = plan.parts.at(plan.parts.size() - 2);
  const auto engines = config.get_all(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  const auto notes =
      engines.at(0).get<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT);
  return std::ranges::find(notes, note) != notes.end();
}

}  // namespace

TEST_CASE("there is a deterministic plan within the workspace for each convolution of ResNet-50 on an RTX 2080 Ti") {
  struct Case {
    DType type;
    int64_t images, workspace_bytes;
  };
  const AbsentGpu gpu("rtx2080ti");
  for (const auto& [type, images, workspace_bytes] :
       {Case{DType::f16, 1, 32 * kMiB}, Case{DType::f16, 64, 32 * kMiB}, Case{DType::f16, 240, 32 * kMiB},
        Case{DType::f32, 1, 256 * kMiB}, Case{DType::f32, 64, 256 * kMiB}, Case{DType::f32, 112, 256 * kMiB}})
    for_each_task(type, false, images, workspace_bytes, [&](const ConvolutionTask& task) {
      INFO(task.text());
      const ConvolutionPlan plan = gpu.choose(task);
      fmt::print("{:<105} engine {:>2}, {:>6.1f} MiB, {:>2} passed over\n", task.text(), plan.engine,
                 double(plan.workspace_bytes) / double(kMiB), plan.num_passed_over);
      CHECK(plan.workspace_bytes <= workspace_bytes);
      CHECK(!has_note(plan, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC));
    });
}

TEST_CASE("on an H100 tensor cores multiply f32 in the table for tf32 alone") {
  const AbsentGpu gpu("h100");
  for (const bool tf32 : {false, true}) {
    int64_t num_by_tensor_cores = 0;
    for_each_task(DType::f32, tf32, 64, 256 * kMiB, [&](const ConvolutionTask& task) {
      INFO(task.text());
      num_by_tensor_cores += has_note(gpu.choose(task), CUDNN_NUMERICAL_NOTE_TENSOR_CORE) ? 1 : 0;
    });
    CHECK((num_by_tensor_cores > 0) == tf32);
  }
}

TEST_CASE("a convolution that the workspace is too small for is refused with what would do") {
  const ConvolutionTask task = task_of(ConvolutionKind::forward, DType::f32, false, {64, 64, 56, 3, 1}, 64, -1);
  CHECK_THROWS_WITH(AbsentGpu("rtx2080ti").choose(task),
                    Catch::Contains("cuDNN has no deterministic plan for convolution_forward of [64, 56, 56, 64]") &&
                        Catch::Contains("start a run with train.workspace_mb ") && !Catch::Contains("\n"));
}
