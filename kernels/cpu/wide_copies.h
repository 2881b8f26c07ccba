// f32 copies of the arguments of one op, for products of a type that the machine does not multiply: the reference of a
// GPU's numerics, not fast, and the op's operands lie in memory twice.
#pragma once

#include <initializer_list>

#include "kernels/cpu/convert.h"
#include "kernels/cpu/scratch.h"

namespace ddp::cpu {

// They lie in the calling thread's Scratch::copies until the next op's are made.
class WideCopies {
 public:
  WideCopies(ThreadPool& pool, std::initializer_list<TensorView> arguments) : pool_(pool) {
    int64_t count = 0;
    for (const TensorView& x : arguments) count += x ? x.numel() : 0;
    next_ = thread_scratch<Scratch::copies>(count);
  }

  TensorView widen(const TensorView& x) {
    const TensorView copy = room(x);
    if (x) convert(pool_, copy, x);
    return copy;
  }
  // For an output; one that is f32 already is written in place.
  TensorView room(const TensorView& x) {
    if (!x || x.dtype == DType::f32) return x;
    float* begin = next_;
    next_ += x.numel();
    return {begin, DType::f32, x.shape};
  }
  void round(const TensorView& to, const TensorView& copy) {
    if (to.data != copy.data) convert(pool_, to, copy);
  }

 private:
  ThreadPool& pool_;
  float* next_;
};

}  // namespace ddp::cpu
