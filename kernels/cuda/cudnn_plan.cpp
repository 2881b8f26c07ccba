#include "kernels/cuda/cudnn_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "runtime/base/error.h"

namespace ddp::cuda {
namespace {

struct KindNames {
  const char* op;
  cudnnBackendDescriptorType_t descriptor;
  cudnnBackendAttributeName_t x, w, y, convolution, alpha, beta;
};

constexpr KindNames names_of(ConvolutionKind kind) {
  switch (kind) {
    case ConvolutionKind::forward:
      return {"convolution_forward",
              CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
    case ConvolutionKind::backward_input:
      return {"convolution_backward_input",
              CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
    case ConvolutionKind::backward_weight:
      return {"convolution_backward_weight",
              CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
  }
  return {};
}

cudnnDataType_t cudnn_type(DType type) {
  return type == DType::f16 ? CUDNN_DATA_HALF : type == DType::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

// cuDNN counts dimensions as N, C, H, W, wherever the channels lie.
Descriptor describe_tensor(const CudnnApi& api, int64_t id, const ConvolutionTask& task,
                           const std::array<int64_t, 4>& nhwc) {
  const auto [n, h, w, c] = nhwc;
  const std::array<int64_t, 4> dims = {n, c, h, w}, strides = {h * w * c, 1, w * c, c};
  Descriptor tensor(api, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, cudnn_type(task.type));
  tensor.set<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS, std::span(dims));
  tensor.set<int64_t>(CUDNN_ATTR_TENSOR_STRIDES, std::span(strides));
  tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id);
  tensor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, task.alignment);
  tensor.finalize();
  return tensor;
}

Descriptor describe_window(const CudnnApi& api, const ConvolutionTask& task) {
  const std::array<int64_t, 2> strides = {task.stride, task.stride}, paddings = {task.padding, task.padding};
  constexpr std::array<int64_t, 2> kDilations = {1, 1};
  Descriptor window(api, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  window.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
  window.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION);
  window.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, int64_t(strides.size()));
  window.set<int64_t>(CUDNN_ATTR_CONVOLUTION_DILATIONS, std::span(kDilations));
  window.set<int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, std::span(strides));
  window.set<int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, std::span(paddings));
  window.set<int64_t>(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, std::span(paddings));
  window.finalize();
  return window;
}

using Tie = std::function<void(Descriptor&)>;

// An operation graph of one operation, the last, and what it refers to.
std::vector<Descriptor> describe(const CudnnApi& api, const ConvolutionTask& task, const Tie& tie) {
  const KindNames names = names_of(task.kind);
  std::vector<Descriptor> parts;
  parts.push_back(describe_tensor(api, kOperandIds[0], task, task.x));
  parts.push_back(describe_tensor(api, kOperandIds[1], task, task.w));
  parts.push_back(describe_tensor(api, kOperandIds[2], task, task.y));
  parts.push_back(describe_window(api, task));
  Descriptor operation(api, names.descriptor);
  operation.set(names.x, parts[0]);
  operation.set(names.w, parts[1]);
  operation.set(names.y, parts[2]);
  operation.set(names.convolution, parts[3]);
  operation.set(names.alpha, 1.0);
  operation.set(names.beta, 0.0);
  operation.finalize();
  Descriptor graph(api, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operation);
  tie(graph);
  graph.finalize();
  parts.push_back(std::move(operation));
  parts.push_back(std::move(graph));
  return parts;
}

// Best first. None where cuDNN has no engine for the types on this device.
std::vector<Descriptor> offers(const CudnnApi& api, const Descriptor& graph, cudnnBackendHeurMode_t mode,
                               const Tie& tie) {
  Descriptor heuristic(api, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_MODE, mode);
  tie(heuristic);
  const cudnnStatus_t asked = heuristic.try_finalize();
  if (CUDNN_STATUS_CATEGORY(asked) == CUDNN_STATUS_NOT_SUPPORTED) return {};
  api.check(asked, "cudnnBackendFinalize of a heuristic");
  return heuristic.get_all(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
}

bool is_deterministic_and_exact(const Descriptor& engine, const ConvolutionTask& task) {
  const auto notes =
      engine.get<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT);
  const auto has = [&](cudnnBackendNumericalNote_t note) { return std::ranges::find(notes, note) != notes.end(); };
  if (has(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) || has(CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION)) return false;
  // Tensor cores know no f32: they round it to tf32, as other engines do to 16 bits.
  const bool rounds = has(CUDNN_NUMERICAL_NOTE_TENSOR_CORE) && !task.tf32;
  return task.type != DType::f32 || !(rounds || has(CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS));
}

[[noreturn]] void refuse(const ConvolutionTask& task, std::optional<int64_t> smallest, const std::string& why) {
  const std::string what = "cuDNN has no deterministic plan for " + task.text();
  if (!smallest) throw Error(ExitCode::os_resource, what + (why.empty() ? "" : ": " + why));
  constexpr int64_t kMiB = 1 << 20;
  throw Error(ExitCode::os_resource,
              fmt::format("{} in a workspace of {} bytes: one wants {}", what, task.workspace_bytes, *smallest),
              fmt::format("start a run with train.workspace_mb {}; one that was begun on another GPU goes on there",
                          (*smallest + kMiB - 1) / kMiB));
}

}  // namespace

std::string ConvolutionTask::text() const {
  const auto dims = [](const std::array<int64_t, 4>& d) { return Shape{d[0], d[1], d[2], d[3]}.text(); };
  return fmt::format("{} of {} by {}, stride {}, padding {}, in {}{}", names_of(kind).op, dims(x), dims(w), stride,
                     padding, dtype_name(type), tf32 ? " (tf32)" : "");
}

ConvolutionPlan choose_plan(const CudnnApi& api, const ConvolutionTask& task, const Tie& tie) {
  ConvolutionPlan chosen{.parts = describe(api, task, tie), .engine = 0, .workspace_bytes = 0, .num_passed_over = 0};
  std::optional<int64_t> smallest;
  std::string why;
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK})
    for (Descriptor& config : offers(api, chosen.parts.back(), mode, tie)) {
      const std::vector<Descriptor> engine =
          config.get_all(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
      ++chosen.num_passed_over;
      if (!is_deterministic_and_exact(engine.at(0), task)) continue;
      Descriptor plan(api, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
      tie(plan);
      // That an offer does not hold is usual, and said by many codes. But what there was no memory for would be another
      // plan in another run.
      if (const cudnnStatus_t made = plan.try_finalize(); made != CUDNN_STATUS_SUCCESS) {
        why = api.error_text(made, "cudnnBackendFinalize of a plan");
        if (made == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED ||
            made == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED)
          throw Error(ExitCode::os_resource, task.text() + ": " + why);
        continue;
      }
      chosen.workspace_bytes = plan.get(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
      smallest = std::min(chosen.workspace_bytes, smallest.value_or(chosen.workspace_bytes));
      if (chosen.workspace_bytes > task.workspace_bytes) continue;
      --chosen.num_passed_over;
      chosen.engine = engine.front().get(CUDNN_ATTR_ENGINE_GLOBAL_INDEX);
      chosen.parts.push_back(std::move(config));
      chosen.parts.push_back(std::move(plan));
      return chosen;
    }
  refuse(task, smallest, why);
}

}  // namespace ddp::cuda
