// The kernels of batch norm with faults that a test plants: their own source, with barriers that can be taken out and a
// launcher that can be made to take 16 bytes at once wherever the tensors lie. faults_test.cpp, which is not
// instrumented, decides.
#pragma once

#include "tests/cuda_sim/attention/droppable.h"
// Above: the barriers that are taken out.
#include "kernels/cuda/pack.cuh"

namespace ddp::test {
bool ignores_alignment();
}

namespace ddp::cuda {
template <class S, class F>
void planted_width(int64_t n, std::initializer_list<const void*> pointers, F f) {
  if (test::ignores_alignment())
    f(std::integral_constant<int, kWidth<S>>{});
  else
    with_width<S>(n, pointers, f);
}
}  // namespace ddp::cuda

#define with_width planted_width
