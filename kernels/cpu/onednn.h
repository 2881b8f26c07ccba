// What the calls of oneDNN share: one thread, and primitives that are made once a thread and shape and that find their
// scratchpad in the thread's scratch memory. dnnl.hpp is large: only the files with such calls include this.
#pragma once

#include <dnnl.hpp>
#include <initializer_list>
#include <unordered_map>
#include <utility>

#include "kernels/cpu/scratch.h"

extern "C" void omp_set_num_threads(int);

namespace ddp::cpu {

// oneDNN takes its number of threads from the calling thread's OpenMP setting. It looks at it when a primitive is made
// as well as when it runs.
inline void use_one_thread() { [[maybe_unused]] thread_local const bool done = (omp_set_num_threads(1), true); }

inline const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

inline dnnl::primitive_attr caller_gives_scratchpad() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

// What primitive P is to do with the arguments of its description. oneDNN 3 (Debian 13) takes them as they are, oneDNN
// 2 (Debian 12) as a P::desc: the one difference between the two that we meet.
template <class P, class... Arguments>
typename P::primitive_desc description(const dnnl::primitive_attr& attributes, const Arguments&... arguments) {
  if constexpr (requires { typename P::desc; })
    return {typename P::desc(arguments...), attributes, engine()};
  else
    return {engine(), arguments..., attributes};
}

// The same of a backward pass, to which oneDNN wants to know its forward pass.
template <class P, class Forward, class... Arguments>
typename P::primitive_desc backward_description(const Forward& forward, const dnnl::primitive_attr& attributes,
                                                const Arguments&... arguments) {
  if constexpr (requires { typename P::desc; })
    return {typename P::desc(arguments...), attributes, engine(), forward};
  else
    return {engine(), arguments..., forward, attributes};
}

// A primitive with its arguments, whose addresses are set at each run. One that is not used has an empty description
// and a null address.
class Primitive {
 public:
  Primitive(dnnl::primitive primitive, const dnnl::memory::desc& scratchpad,
            std::initializer_list<std::pair<int, dnnl::memory::desc>> arguments)
      : primitive_(std::move(primitive)),
        scratchpad_floats_(ceil_div(int64_t(scratchpad.get_size()), int64_t(sizeof(float)))) {
    for (const auto& [argument, description] : arguments)
      if (!description.is_zero()) add(argument, description);
    add(DNNL_ARG_SCRATCHPAD, scratchpad);
  }

  void run(std::initializer_list<std::pair<int, const void*>> addresses) {
    thread_local dnnl::stream stream(engine());
    for (const auto& [argument, address] : addresses)
      if (address != nullptr) set(argument, address);
    set(DNNL_ARG_SCRATCHPAD, thread_scratch(scratchpad_floats_));
    primitive_.execute(stream, arguments_);
  }

 private:
  void add(int argument, const dnnl::memory::desc& description) {
    arguments_.emplace(argument, dnnl::memory(description, engine(), nullptr));
  }
  void set(int argument, const void* address) { arguments_.at(argument).set_data_handle(const_cast<void*>(address)); }

  dnnl::primitive primitive_;
  int64_t scratchpad_floats_;
  std::unordered_map<int, dnnl::memory> arguments_;
};

// The cache's value for a key, made by make(key) at its first use. One cache a thread needs no lock; generated code is
// shared by oneDNN's own cache.
template <class Cache, class Make>
auto& made_once(Cache& cache, const typename Cache::key_type& key, Make make) {
  use_one_thread();
  const auto found = cache.find(key);
  return found != cache.end() ? found->second : cache.emplace(key, make(key)).first->second;
}

}  // namespace ddp::cpu
