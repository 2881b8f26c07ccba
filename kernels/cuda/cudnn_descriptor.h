// A descriptor of cuDNN's backend API, owned, with attributes typed by what they hold.
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

#include "kernels/cuda/cudnn_api.h"

namespace ddp::cuda {

template <class T>
inline constexpr bool kNoAttribute = false;
template <class T>
constexpr cudnnBackendAttributeType_t attribute_type() {
  if constexpr (std::is_same_v<T, int64_t>)
    return CUDNN_TYPE_INT64;
  else if constexpr (std::is_same_v<T, double>)
    return CUDNN_TYPE_DOUBLE;
  else if constexpr (std::is_same_v<T, char>)
    return CUDNN_TYPE_CHAR;
  else if constexpr (std::is_same_v<T, void*>)
    return CUDNN_TYPE_VOID_PTR;
  else if constexpr (std::is_same_v<T, cudnnHandle_t>)
    return CUDNN_TYPE_HANDLE;
  else if constexpr (std::is_same_v<T, cudnnDataType_t>)
    return CUDNN_TYPE_DATA_TYPE;
  else if constexpr (std::is_same_v<T, cudnnConvolutionMode_t>)
    return CUDNN_TYPE_CONVOLUTION_MODE;
  else if constexpr (std::is_same_v<T, cudnnBackendHeurMode_t>)
    return CUDNN_TYPE_HEUR_MODE;
  else if constexpr (std::is_same_v<T, cudnnBackendNumericalNote_t>)
    return CUDNN_TYPE_NUMERICAL_NOTE;
  else
    static_assert(kNoAttribute<T>, "no attribute holds this");
}

// Errors of all: os_resource (71). What a descriptor refers to must outlive it.
class Descriptor {
 public:
  Descriptor(const CudnnApi& api, cudnnBackendDescriptorType_t type) : type_(type), raw_(nullptr, {&api}) {
    cudnnBackendDescriptor_t raw = nullptr;
    api.check(api.cudnnBackendCreateDescriptor(type, &raw), "cudnnBackendCreateDescriptor");
    raw_.reset(raw);
  }

  cudnnBackendDescriptorType_t type() const { return type_; }
  cudnnBackendDescriptor_t raw() const { return raw_.get(); }

  template <class T>
  void set(cudnnBackendAttributeName_t name, std::span<const T> values) {
    put(name, attribute_type<T>(), int64_t(values.size()), values.data());
  }
  template <class T>
  void set(cudnnBackendAttributeName_t name, const T& value) {
    put(name, attribute_type<T>(), 1, &value);
  }
  void set(cudnnBackendAttributeName_t name, const Descriptor& value) {
    const cudnnBackendDescriptor_t raw = value.raw();
    put(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &raw);
  }

  // At most `most` values.
  template <class T>
  std::vector<T> get(cudnnBackendAttributeName_t name, int64_t most) const {
    std::vector<T> values(static_cast<size_t>(most));
    int64_t found = 0;
    fetch(name, attribute_type<T>(), most, &found, values.data());
    values.resize(size_t(std::min(most, found)));
    return values;
  }
  int64_t get(cudnnBackendAttributeName_t name) const { return get<int64_t>(name, 1).at(0); }
  // All that an attribute refers to.
  std::vector<Descriptor> get_all(cudnnBackendAttributeName_t name, cudnnBackendDescriptorType_t type) const {
    int64_t count = 0;
    fetch(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &count, nullptr);
    std::vector<Descriptor> found;
    std::vector<cudnnBackendDescriptor_t> raw;
    for (int64_t i = 0; i < count; ++i) raw.push_back(found.emplace_back(*api(), type).raw());
    if (count > 0) fetch(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, &count, raw.data());
    found.erase(found.begin() + count, found.end());
    return found;
  }

  void finalize() { api()->check(try_finalize(), "cudnnBackendFinalize"); }
  cudnnStatus_t try_finalize() { return api()->cudnnBackendFinalize(raw()); }

 private:
  struct Destroy {
    const CudnnApi* api;
    void operator()(cudnnBackendDescriptor_t raw) const { api->cudnnBackendDestroyDescriptor(raw); }
  };

  const CudnnApi* api() const { return raw_.get_deleter().api; }
  void put(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count, const void* values) {
    api()->check(api()->cudnnBackendSetAttribute(raw(), name, type, count, values), "cudnnBackendSetAttribute");
  }
  void fetch(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t most, int64_t* found,
             void* values) const {
    api()->check(api()->cudnnBackendGetAttribute(raw(), name, type, most, found, values), "cudnnBackendGetAttribute");
  }

  cudnnBackendDescriptorType_t type_;
  std::unique_ptr<void, Destroy> raw_;
};

}  // namespace ddp::cuda
