// The subset of cuDNN's graph API that the project calls; built against the real header and opened in place of the
// library. It knows graphs of one convolution of images with the channels last, and is strict: an attribute of another
// type or count, a descriptor that is not finalized or is gone, is refused. Its heuristic is as unkind as the real one
// may be: mode A offers an engine that sums in any order; for 16 bits one that sums in 16 bits; for f32, from compute
// capability 8.0 on, one of tensor cores, which rounds to tf32; one with a large workspace; one that makes no plan; and
// then one that will do, and wants 1 KiB. The fallback offers one more. Below 8.0 it has no bf16. It reports a plan
// that does not give the same bits every time, operands less aligned than the graph says, and a workspace that is none.
// Faults that tests plant: only the first engine; no fallback.
#include <cudnn.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/cuda_sim/api/cudnn_graph.h"
#include "tests/cuda_sim/api/elements.h"
#include "tests/cuda_sim/api/gpu.h"
#include "tests/cuda_sim/api/memory.h"
#include "tests/cuda_sim/report.h"

using namespace ddp::sim;

struct cudnnContext {
  cudaStream_t stream = nullptr;
};

namespace {

struct Engine {
  std::vector<cudnnBackendNumericalNote_t> notes = {};
  int64_t workspace_bytes = 0;
  bool makes_plans = true;

  bool has(cudnnBackendNumericalNote_t note) const { return std::ranges::find(notes, note) != notes.end(); }
};
enum EngineIndex : int { kAnyOrder, kIn16Bits, kTensorCores, kLarge, kNoPlan, kGood, kFallback };
const Engine& engine(int index) {
  static const Engine engines[] = {{.notes = {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC}},
                                   {.notes = {CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION}},
                                   {.notes = {CUDNN_NUMERICAL_NOTE_TENSOR_CORE}},
                                   {.workspace_bytes = int64_t(600) << 20},
                                   {.makes_plans = false},
                                   {.workspace_bytes = 1 << 10},
                                   {}};
  return engines[index];
}

thread_local std::string last_error;

cudnnStatus_t fail(cudnnStatus_t status, const std::string& why) {
  last_error = why + "\nand more, for cuDNN's developers";
  return status;
}

ddp::DType type_of(const Description& heuristic) {
  const auto graph = heuristic.one<cudnnBackendDescriptor_t>(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
  return convolution_of(operation_of(as_description(graph))).type;
}

std::vector<int> offers_of(const Description& heuristic) {
  const bool is_f32 = type_of(heuristic) == ddp::DType::f32, only_first = is_planted("no-cudnn-engine");
  if (heuristic.one<cudnnBackendHeurMode_t>(CUDNN_ATTR_ENGINEHEUR_MODE) == CUDNN_HEUR_MODE_FALLBACK)
    return only_first || is_planted("no-cudnn-fallback") ? std::vector<int>{} : std::vector<int>{kFallback};
  std::vector<int> out = {kAnyOrder};
  if (only_first) return out;
  if (!is_f32) out.push_back(kIn16Bits);
  if (is_f32 && has_bf16_and_tf32()) out.push_back(kTensorCores);
  out.insert(out.end(), {kLarge, kNoPlan, kGood});
  return out;
}

// Those of a heuristic, or the one of a configuration, into descriptors that the caller made.
cudnnStatus_t give(const std::vector<int>& engines, cudnnBackendDescriptor_t graph, cudnnBackendDescriptorType_t type,
                   int64_t wanted, int64_t* count, void* values) {
  *count = values == nullptr ? int64_t(engines.size()) : std::min(wanted, int64_t(engines.size()));
  for (int64_t i = 0; values != nullptr && i < *count; ++i) {
    Description& d = as_description(static_cast<cudnnBackendDescriptor_t*>(values)[i]);
    if (d.type != type) return fail(CUDNN_STATUS_BAD_PARAM, "a descriptor of another type to be filled");
    d.engine = engines[size_t(i)];
    d.graph = graph;
    d.is_finalized = true;
  }
  return CUDNN_STATUS_SUCCESS;
}

template <class T>
cudnnStatus_t give_values(const std::vector<T>& all, int64_t wanted, int64_t* count, void* values) {
  *count = std::min(wanted, int64_t(all.size()));
  std::copy_n(all.begin(), *count, static_cast<T*>(values));
  return CUDNN_STATUS_SUCCESS;
}

const Description& config_of(const Description& plan) {
  return as_description(plan.one<cudnnBackendDescriptor_t>(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG));
}

// The pointer that the pack has for a tensor.
void* operand(const Description& pack, const Description& tensor) {
  const auto ids = pack.all<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  const auto at = std::ranges::find(ids, tensor.one<int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID));
  if (at == ids.end()) {
    report("cuDNN operands", "a variant pack lacks a tensor of the graph");
    return nullptr;
  }
  void* pointer = pack.all<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS)[size_t(at - ids.begin())];
  const auto alignment = tensor.one<int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT);
  if (reinterpret_cast<uintptr_t>(pointer) % uintptr_t(alignment) != 0)
    report("cuDNN alignment", "an operand at {} for a plan that takes it aligned to {}", pointer, alignment);
  return pointer;
}

}  // namespace

extern "C" {

size_t cudnnGetVersion() { return CUDNN_VERSION; }

const char* cudnnGetErrorString(cudnnStatus_t status) {
  return status == CUDNN_STATUS_SUCCESS         ? "CUDNN_STATUS_SUCCESS"
         : status == CUDNN_STATUS_NOT_SUPPORTED ? "CUDNN_STATUS_NOT_SUPPORTED"
                                                : "CUDNN_STATUS_BAD_PARAM";
}

void cudnnGetLastErrorString(char* message, size_t max_size) {
  message[last_error.copy(message, max_size - 1)] = '\0';
  last_error.clear();
}

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  *handle = new cudnnContext;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* descriptor) {
  *descriptor = make_description(type);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  destroy_description(descriptor);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void* values) {
  const std::string flaw = set_attribute(as_description(descriptor), name, type, count, values);
  return flaw.empty() ? CUDNN_STATUS_SUCCESS : fail(CUDNN_STATUS_BAD_PARAM, flaw);
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  Description& d = as_description(descriptor);
  if (const std::string flaw = flaw_of(d); !flaw.empty()) return fail(CUDNN_STATUS_BAD_PARAM, flaw);
  if (d.type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR && !has_bf16_and_tf32() && type_of(d) == ddp::DType::bf16)
    return fail(CUDNN_STATUS_NOT_SUPPORTED, "no bf16 on this GPU");
  if (d.type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR && !engine(config_of(d).engine).makes_plans)
    return fail(CUDNN_STATUS_NOT_SUPPORTED, "this engine makes no plan");
  d.is_finalized = true;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t wanted, int64_t* count, void* values) {
  const Description& d = as_description(descriptor);
  if (!d.is_finalized) return fail(CUDNN_STATUS_BAD_PARAM, "an attribute of a descriptor that is not finalized");
  const auto asks = [&](cudnnBackendDescriptorType_t of, cudnnBackendAttributeName_t what,
                        cudnnBackendAttributeType_t what_type) {
    return d.type == of && name == what && type == what_type;
  };
  if (asks(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR))
    return give(offers_of(d), d.one<cudnnBackendDescriptor_t>(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH),
                CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, wanted, count, values);
  if (asks(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR))
    return give({d.engine}, d.graph, CUDNN_BACKEND_ENGINE_DESCRIPTOR, wanted, count, values);
  if (asks(CUDNN_BACKEND_ENGINE_DESCRIPTOR, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64))
    return give_values(std::vector<int64_t>{d.engine}, wanted, count, values);
  if (asks(CUDNN_BACKEND_ENGINE_DESCRIPTOR, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE))
    return give_values(engine(d.engine).notes, wanted, count, values);
  if (asks(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64))
    return give_values(std::vector{engine(config_of(d).engine).workspace_bytes}, wanted, count, values);
  return fail(CUDNN_STATUS_BAD_PARAM, "an attribute that the descriptor has not, or of another type");
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack) {
  const Description &p = as_description(plan), &v = as_description(pack);
  if (p.type != CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR || v.type != CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR ||
      !p.is_finalized || !v.is_finalized)
    return fail(CUDNN_STATUS_BAD_PARAM, "no finalized plan and variant pack");
  const Description& config = config_of(p);
  const Engine& chosen = engine(config.engine);
  if (chosen.has(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) || chosen.has(CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION))
    report("cuDNN engine", "engine {} is executed, whose sums are not those of f32 in a fixed order", config.engine);
  const Description& operation = operation_of(as_description(config.graph));
  const auto [x, w, y] = operands_of(operation);
  Convolution c = convolution_of(operation);
  c.tf32 = chosen.has(CUDNN_NUMERICAL_NOTE_TENSOR_CORE);
  c.x_data = operand(v, x), c.w_data = operand(v, w), c.y_data = operand(v, y);
  c.workspace = v.one<void*>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
  c.workspace_bytes = size_t(chosen.workspace_bytes);
  const bool has_workspace = c.workspace_bytes == 0 || is_device_memory(c.workspace);
  if (!has_workspace) report("cuDNN workspace", "{} is no memory of the device", c.workspace);
  if (!has_workspace || c.x_data == nullptr || c.w_data == nullptr || c.y_data == nullptr)
    return fail(CUDNN_STATUS_BAD_PARAM, "memory is missing");
  gpu().submit(handle->stream, "cudnnBackendExecute", Run([c] {
                 convolve(c);
                 return true;
               }));
  return CUDNN_STATUS_SUCCESS;
}

}  // extern "C"
