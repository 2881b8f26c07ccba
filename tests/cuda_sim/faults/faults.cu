#include "kernels/cuda/pack.cuh"

#include "tests/cuda_sim/faults/faults.h"

namespace ddp::faults {
namespace {

using cuda::shared_memory;

constexpr int kThreads = 128;

struct Shared {
  float value[kThreads];
};

__device__ int element() { return blockIdx.x * kThreads + threadIdx.x; }

__global__ void syncthreads_kernel(Arrays a, bool fault) {
  auto& shared = shared_memory<Shared>();
  shared.value[threadIdx.x] = a.in[element()];
  if (!fault) __syncthreads();
  a.out[element()] = shared.value[(threadIdx.x + 32) % kThreads];
}

__global__ void syncwarp_kernel(Arrays a, bool fault) {
  auto& shared = shared_memory<Shared>();
  shared.value[threadIdx.x] = a.in[element()];
  if (!fault) __syncwarp();
  a.out[element()] = shared.value[threadIdx.x ^ 1];
}

__global__ void barrier_kernel(Arrays a, bool fault) {
  if (!fault || threadIdx.x < 64) __syncthreads();
  a.out[element()] = a.in[element()];
  __syncthreads();
}

__global__ void warp_operation_kernel(Arrays a, bool fault) {
  float value = a.in[element()];
  if (fault && threadIdx.x % 32 < 16)
    __syncwarp();
  else
    value = __shfl_xor_sync(0xffffffffu, value, 1);
  a.out[element()] = value;
}

__global__ void past_the_end_kernel(Arrays a, bool fault) {
  a.out[element() + (fault && element() == a.n - 1 ? 1 : 0)] = a.in[element()];
}

__global__ void past_shared_kernel(Arrays a, bool fault) {
  auto& shared = shared_memory<Shared>();
  float* mine = shared.value + threadIdx.x + (fault && threadIdx.x == kThreads - 1 ? 1 : 0);
  *mine = a.in[element()];
  a.out[element()] = *mine;
}

__global__ void misaligned_kernel(Arrays a, bool fault) {
  if (threadIdx.x % 4 != 0 || element() + 8 > a.n) return;
  const cuda::Pack<4> four = cuda::load<4>(a.in + element() + (fault ? 1 : 0));
  cuda::store<4>(a.out + element(), four);
}

__global__ void same_element_kernel(Arrays a, bool fault) {
  if (threadIdx.x == 0) a.out[fault ? 0 : blockIdx.x] = a.in[blockIdx.x];
}

__global__ void not_written_kernel(Arrays a, bool fault) {
  auto& shared = shared_memory<Shared>();
  if (!fault || threadIdx.x != 5) shared.value[threadIdx.x] = a.in[element()];
  a.out[element()] = shared.value[threadIdx.x];
}

void run(Stream& stream, void (*kernel)(Arrays, bool), const Arrays& a, bool fault) {
  cuda::launch(stream, {"planted", dim3(a.n / kThreads), dim3(kThreads), sizeof(Shared)}, kernel, a, fault);
}

}  // namespace

void syncthreads_missing(Stream& s, const Arrays& a, bool fault) { run(s, syncthreads_kernel, a, fault); }
void syncwarp_missing(Stream& s, const Arrays& a, bool fault) { run(s, syncwarp_kernel, a, fault); }
void barrier_diverges(Stream& s, const Arrays& a, bool fault) { run(s, barrier_kernel, a, fault); }
void warp_operation_diverges(Stream& s, const Arrays& a, bool fault) { run(s, warp_operation_kernel, a, fault); }
void element_past_the_end(Stream& s, const Arrays& a, bool fault) { run(s, past_the_end_kernel, a, fault); }
void element_past_shared_memory(Stream& s, const Arrays& a, bool fault) { run(s, past_shared_kernel, a, fault); }
void vector_misaligned(Stream& s, const Arrays& a, bool fault) { run(s, misaligned_kernel, a, fault); }
void blocks_write_the_same(Stream& s, const Arrays& a, bool fault) { run(s, same_element_kernel, a, fault); }
void shared_memory_not_written(Stream& s, const Arrays& a, bool fault) { run(s, not_written_kernel, a, fault); }

}  // namespace ddp::faults
