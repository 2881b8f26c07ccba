// What the all-reduce benchmark does with every library, so that the figures compare: f32 elements, one untimed call
// that is checked, then timed calls, each after a barrier.
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "runtime/base/clock.h"

namespace ddp::bench {

inline double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + long(values.size() / 2), values.end());
  return values[values.size() / 2];
}

struct Workload {
  int64_t elements = 0;
  int iterations = 0;
  // The same call as arguments of another program, and read back from there.
  std::string arguments() const { return fmt::format("{} {}", elements, iterations); }
  static Workload parse(int argc, char** argv, int first) {
    if (argc != first + 2) {
      fmt::print(stderr, "a helper of bench_allreduce: run that\n");
      std::exit(64);
    }
    return {std::atoll(argv[first]), std::atoi(argv[first + 1])};
  }
};

inline void fill(float* x, int64_t n, int rank) { std::fill_n(x, n, float(rank + 1)); }

// Ends the program when x is not the sum over ranks of what fill() wrote.
inline void check_sum(const float* x, int64_t n, int size) {
  const float want = float(size * (size + 1) / 2);
  if (std::any_of(x, x + n, [want](float value) { return value != want; })) {
    fmt::print(stderr, "wrong sum\n");
    std::exit(1);
  }
}

// For a library that blocks its caller: the median of the timed calls on this rank, ms.
template <class Barrier, class AllReduce>
double time_blocking(const Workload& work, int rank, int size, Barrier barrier, AllReduce all_reduce) {
  std::vector<float> x(static_cast<size_t>(work.elements));
  fill(x.data(), work.elements, rank);
  all_reduce(x.data(), work.elements);
  check_sum(x.data(), work.elements, size);
  fill(x.data(), work.elements, 0);
  std::vector<double> times;
  for (int i = 0; i < work.iterations; ++i) {
    barrier();
    const int64_t begin = monotonic_ns();
    all_reduce(x.data(), work.elements);
    times.push_back(ms_between(begin, monotonic_ns()));
  }
  return median(times);
}

}  // namespace ddp::bench
