#include "tests/cuda_sim/api/cudnn_graph.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <set>

#include "tests/cuda_sim/report.h"

namespace ddp::sim {
namespace {

// What may be set, and must be before a descriptor is finalized.
struct Rule {
  cudnnBackendDescriptorType_t descriptor;
  cudnnBackendAttributeName_t name;
  cudnnBackendAttributeType_t type;
  int64_t count = 1;
};
constexpr Rule kRules[] = {
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE},
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4},
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4},
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64},
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2},
    {CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE},
    {CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR},
    {CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR},
    {CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE},
    {CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE},
    {CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR},
    {CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3},
    {CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3},
    {CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR},
};
// Of an operation, by its kind: attributes of x, w, y and the window, and the two factors.
struct Operation {
  cudnnBackendDescriptorType_t descriptor;
  Convolution::Kind kind;
  cudnnBackendAttributeName_t x, w, y, window, alpha, beta;
};
constexpr Operation kOperations[] = {
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, Convolution::Kind::forward,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, Convolution::Kind::backward_input,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR, Convolution::Kind::backward_weight,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

const Operation* find_operation(cudnnBackendDescriptorType_t type) {
  const auto* found = std::ranges::find(kOperations, type, &Operation::descriptor);
  return found == std::end(kOperations) ? nullptr : found;
}

std::vector<Rule> rules_of(cudnnBackendDescriptorType_t type) {
  std::vector<Rule> out;
  std::ranges::copy_if(kRules, std::back_inserter(out), [&](const Rule& rule) { return rule.descriptor == type; });
  if (const Operation* o = find_operation(type)) {
    for (const auto name : {o->x, o->w, o->y, o->window}) out.push_back({type, name, CUDNN_TYPE_BACKEND_DESCRIPTOR});
    for (const auto name : {o->alpha, o->beta}) out.push_back({type, name, CUDNN_TYPE_DOUBLE});
  }
  return out;
}

size_t width_of(cudnnBackendAttributeType_t type) {
  const bool is_enum =
      type == CUDNN_TYPE_DATA_TYPE || type == CUDNN_TYPE_CONVOLUTION_MODE || type == CUDNN_TYPE_HEUR_MODE;
  return is_enum ? sizeof(cudnnDataType_t) : sizeof(int64_t);
}

std::set<cudnnBackendDescriptor_t>& live() {
  static auto* const descriptors = new std::set<cudnnBackendDescriptor_t>;
  return *descriptors;
}

std::optional<DType> type_of(cudnnDataType_t type) {
  if (type == CUDNN_DATA_FLOAT) return DType::f32;
  if (type == CUDNN_DATA_HALF) return DType::f16;
  if (type == CUDNN_DATA_BFLOAT16) return DType::bf16;
  return std::nullopt;
}

Image image_of(const Description& tensor) {
  const auto dims = tensor.all<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS);
  return {.n = dims[0], .h = dims[2], .w = dims[3], .c = dims[1]};
}

// What is wrong with a descriptor that has all its attributes; empty: nothing.
std::string flaw_of_tensor(const Description& d) {
  const auto strides = d.all<int64_t>(CUDNN_ATTR_TENSOR_STRIDES);
  const auto [n, h, w, c] = image_of(d);
  if (n < 1 || h < 1 || w < 1 || c < 1) return "a dimension of a tensor is below 1";
  if (strides != std::vector<int64_t>{h * w * c, 1, w * c, c}) return "a tensor is not packed, channels last";
  return type_of(d.one<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE)) ? "" : "a tensor has a type of no engine";
}

std::string flaw_of_window(const Description& d) {
  const auto pair = [&](cudnnBackendAttributeName_t name) { return d.all<int64_t>(name); };
  const auto padding = pair(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS), stride = pair(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES);
  const bool is_known = d.one<cudnnDataType_t>(CUDNN_ATTR_CONVOLUTION_COMP_TYPE) == CUDNN_DATA_FLOAT &&
                        d.one<cudnnConvolutionMode_t>(CUDNN_ATTR_CONVOLUTION_CONV_MODE) == CUDNN_CROSS_CORRELATION &&
                        d.one<int64_t>(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS) == 2 &&
                        pair(CUDNN_ATTR_CONVOLUTION_DILATIONS) == std::vector<int64_t>{1, 1} &&
                        padding == pair(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS) && padding[0] == padding[1] &&
                        stride[0] == stride[1] && stride[0] >= 1;
  return is_known ? "" : "a convolution that the simulator does not know";
}

std::string flaw_of_operation(const Description& d) {
  const Operation& o = *find_operation(d.type);
  if (d.one<double>(o.alpha) != 1.0 || d.one<double>(o.beta) != 0.0) return "alpha is not 1 or beta not 0";
  const auto [x, w, y] = operands_of(d);
  for (const Description* other : {&w, &y})
    if (other->one<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE) != x.one<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE))
      return "operands of several types";
  const Convolution c = convolution_of(d);
  const auto windows = [&](int64_t size, int64_t window) { return (size + 2 * c.padding - window) / c.stride + 1; };
  const bool fits = c.y.n == c.x.n && c.y.c == c.w.n && c.w.c == c.x.c && c.y.h == windows(c.x.h, c.w.h) &&
                    c.y.w == windows(c.x.w, c.w.w);
  return fits ? "" : "the dimensions of x, w and y do not fit";
}

}  // namespace

cudnnBackendDescriptor_t make_description(cudnnBackendDescriptorType_t type) {
  return *live().insert(new Description{.type = type}).first;
}

void destroy_description(cudnnBackendDescriptor_t descriptor) {
  delete &as_description(descriptor);
  live().erase(descriptor);
}

Description& as_description(cudnnBackendDescriptor_t descriptor) {
  if (!live().contains(descriptor)) report("cuDNN descriptor", "a descriptor is used that is not there");
  return *static_cast<Description*>(descriptor);
}

std::string set_attribute(Description& d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                          int64_t count, const void* values) {
  if (d.is_finalized) return "an attribute of a finalized descriptor is set";
  const std::vector<Rule> rules = rules_of(d.type);
  const auto rule = std::ranges::find(rules, name, &Rule::name);
  if (rule == rules.end()) return "an attribute that the descriptor has not";
  if (rule->type != type || rule->count != count) return "an attribute of another type or count";
  if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR &&
      !as_description(*static_cast<const cudnnBackendDescriptor_t*>(values)).is_finalized)
    return "an attribute is a descriptor that is not finalized";
  const auto* bytes = static_cast<const std::byte*>(values);
  d.attributes[name].assign(bytes, bytes + size_t(count) * width_of(type));
  return "";
}

std::string flaw_of(const Description& d) {
  const std::vector<Rule> rules = rules_of(d.type);
  if (rules.empty()) return "a descriptor that only cuDNN fills";
  for (const Rule& rule : rules)
    if (!d.attributes.contains(rule.name)) return "an attribute is not set";
  if (d.type == CUDNN_BACKEND_TENSOR_DESCRIPTOR) return flaw_of_tensor(d);
  if (d.type == CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR) return flaw_of_window(d);
  return find_operation(d.type) != nullptr ? flaw_of_operation(d) : "";
}

Operands operands_of(const Description& operation) {
  const Operation& o = *find_operation(operation.type);
  return {as_description(operation.one<cudnnBackendDescriptor_t>(o.x)),
          as_description(operation.one<cudnnBackendDescriptor_t>(o.w)),
          as_description(operation.one<cudnnBackendDescriptor_t>(o.y))};
}

const Description& operation_of(const Description& graph) {
  return as_description(graph.one<cudnnBackendDescriptor_t>(CUDNN_ATTR_OPERATIONGRAPH_OPS));
}

Convolution convolution_of(const Description& operation) {
  const Operation& o = *find_operation(operation.type);
  const auto [x, w, y] = operands_of(operation);
  const Description& window = as_description(operation.one<cudnnBackendDescriptor_t>(o.window));
  return {.kind = o.kind,
          .type = *type_of(x.one<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE)),
          .tf32 = false,
          .x = image_of(x),
          .w = image_of(w),
          .y = image_of(y),
          .stride = window.one<int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES),
          .padding = window.one<int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS),
          .x_data = nullptr,
          .w_data = nullptr,
          .y_data = nullptr,
          .workspace = nullptr,
          .workspace_bytes = 0};
}

}  // namespace ddp::sim
