// Which of cuDNN's plans computes a convolution: the first of its heuristic's list that gives the same bits every time,
// keeps to the type's arithmetic, and fits into the workspace. Never by timing: a resumed run must give the same bits.
// No CUDA call: the tests ask for GPUs that are not there.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/cuda/cudnn_descriptor.h"
#include "kernels/ops/convolution.h"

namespace ddp::cuda {

enum class ConvolutionKind : uint8_t { forward, backward_input, backward_weight };

// All that a plan depends on, the device apart.
struct ConvolutionTask {
  ConvolutionKind kind;
  DType type;
  bool tf32;                       // of f32: tensor cores, which round each operand to 10 bits of mantissa, may do it
  std::array<int64_t, 4> x, w, y;  // (N,H,W,C), (K,R,S,C), (N,P,Q,K)
  int64_t stride, padding;
  int64_t alignment;        // in bytes, of all pointers
  int64_t workspace_bytes;  // that it may use
  auto operator<=>(const ConvolutionTask&) const = default;
  std::string text() const;  // "convolution_forward of [8, 7, 7, 64] by [64, 3, 3, 64], stride 1, padding 1, in f16"
};

// The names by which a variant pack gives the pointers of x, w, y or their gradients.
inline constexpr std::array<int64_t, 3> kOperandIds = {1, 2, 3};

struct ConvolutionPlan {
  std::vector<Descriptor> parts;  // what the plan refers to; the plan is the last
  int64_t engine;                 // cuDNN's number of it
  int64_t workspace_bytes;
  int num_passed_over;  // better ones of the heuristic

  cudnnBackendDescriptor_t raw() const { return parts.back().raw(); }
};

// `tie` ties a plan to a device: it is called with each operation graph, heuristic and plan before that is finalized,
// and sets what names the device. Errors: os_resource (71) when no plan is left, with the smallest workspace that a
// deterministic one wants.
ConvolutionPlan choose_plan(const CudnnApi& api, const ConvolutionTask& task,
                            const std::function<void(Descriptor&)>& tie);

}  // namespace ddp::cuda
