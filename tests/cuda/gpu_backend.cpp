// The backend of tests/ops under test here: the real module on a real GPU. The tests keep everything in ordinary memory
// of the host, which a GPU may read once it is registered: the whole heap at the start, what lies elsewhere page by
// page.
#include <cuda_runtime_api.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <set>
#include <string>

#include "runtime/cuda_backend.h"
#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

constexpr int kSkipped = 77;
constexpr size_t kHeapBytes = size_t(512) << 20;

void check(cudaError_t error, const char* call) {
  if (error != cudaSuccess) throw Error(ExitCode::os_resource, std::string(call) + ": " + cudaGetErrorString(error));
}

// The part of the address space that malloc gets all its memory from.
class Heap {
 public:
  Heap() {
    ::mallopt(M_ARENA_MAX, 1);
    ::mallopt(M_MMAP_MAX, 0);
    ::mallopt(M_TRIM_THRESHOLD, -1);
    ::mallopt(M_TOP_PAD, int(kHeapBytes));
    std::free(std::malloc(kHeapBytes / 2));  // grows it
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);)
      if (line.ends_with("[heap]")) begin_ = std::stoull(line, nullptr, 16);
    end_ = reinterpret_cast<uintptr_t>(::sbrk(0));
    check(cudaHostRegister(reinterpret_cast<void*>(begin_), end_ - begin_, cudaHostRegisterMapped), "cudaHostRegister");
  }
  bool contains(uintptr_t address) const { return begin_ <= address && address < end_; }

 private:
  uintptr_t begin_ = 0, end_ = 0;
};

void skip_without_gpu() {
  static const bool has_gpu = [] {
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
  }();
  if (!has_gpu) std::_Exit(kSkipped);
}

}  // namespace

int num_settings() { return 2; }  // a run and its repetition

std::vector<DType> storage_types() {
  int major = 0;
  const bool has_bf16 =
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0) == cudaSuccess && major >= 8;
  return has_bf16 ? std::vector{DType::f32, DType::f16, DType::bf16} : std::vector{DType::f32, DType::f16};
}

std::unique_ptr<Device> make_test_device(int) {
  skip_without_gpu();
  return open_cuda_backend().make_device({});
}

const OpTable& test_op_table() { return open_cuda_backend().op_table(/*tf32=*/false); }

void lend_to_device(const void* memory, size_t bytes) {
  skip_without_gpu();
  static const Heap heap;
  static std::set<uintptr_t> registered;
  const auto address = reinterpret_cast<uintptr_t>(memory);
  if (heap.contains(address)) return;
  const auto page_bytes = uintptr_t(::sysconf(_SC_PAGESIZE));
  for (uintptr_t page = address / page_bytes * page_bytes; page < address + bytes; page += page_bytes) {
    if (!registered.insert(page).second) continue;
    void* begin = reinterpret_cast<void*>(page);
    ::mprotect(begin, page_bytes, PROT_READ | PROT_WRITE);  // constants too: only what may be written can be registered
    check(cudaHostRegister(begin, page_bytes, cudaHostRegisterMapped), "cudaHostRegister");
  }
}

}  // namespace ddp::test
