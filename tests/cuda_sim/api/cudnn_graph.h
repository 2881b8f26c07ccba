// Descriptors of the simulated cuDNN: attributes as they were set, and graphs of one convolution of images with the
// channels last. Strict: an attribute of another type or count is refused, and the use of a descriptor that is gone is
// reported.
#pragma once

#include <cudnn.h>

#include <cstddef>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "tests/cuda_sim/api/cudnn_convolution.h"

namespace ddp::sim {

struct Description {
  cudnnBackendDescriptorType_t type;
  std::map<cudnnBackendAttributeName_t, std::vector<std::byte>> attributes = {};
  bool is_finalized = false;
  int engine = 0;                            // of an engine and its configuration
  cudnnBackendDescriptor_t graph = nullptr;  // likewise

  template <class T>
  std::vector<T> all(cudnnBackendAttributeName_t name) const {
    const std::vector<std::byte>& bytes = attributes.at(name);
    std::vector<T> values(bytes.size() / sizeof(T));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  template <class T>
  T one(cudnnBackendAttributeName_t name) const {
    return all<T>(name).at(0);
  }
};

cudnnBackendDescriptor_t make_description(cudnnBackendDescriptorType_t type);
void destroy_description(cudnnBackendDescriptor_t descriptor);
Description& as_description(cudnnBackendDescriptor_t descriptor);

// What is wrong with it; empty: nothing, and it is done.
std::string set_attribute(Description& d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                          int64_t count, const void* values);
// What is wrong with its attributes.
std::string flaw_of(const Description& d);

const Description& operation_of(const Description& graph);
// Of an operation: its tensors, and the convolution without its pointers.
struct Operands {
  const Description &x, &w, &y;
};
Operands operands_of(const Description& operation);
Convolution convolution_of(const Description& operation);

}  // namespace ddp::sim
