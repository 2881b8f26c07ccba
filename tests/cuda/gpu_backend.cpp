// The backend of tests/ops under test here: a module, the real one on a real GPU or the simulated one
// (DDP_CUDA_MODULE). The tests keep everything in ordinary memory of the host, which a GPU may read once it is
// registered: the whole heap at the start, what lies elsewhere page by page. Simulated kernels run on the host and need
// none of it.
#include <dlfcn.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <set>
#include <string>

#include "launcher/nvml.h"
#include "runtime/rank/cuda_backend.h"
#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

constexpr int kSkipped = 77;
constexpr size_t kHeapBytes = size_t(512) << 20;

// The driver that the module has opened, or none under simulation: the runtime is the module's own, hidden in it.
class Driver {
 public:
  explicit Driver(Device&) {  // of the module: its first device opens the driver, and makes the context
    void* library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    if (library == nullptr) return;
    register_ = reinterpret_cast<Register*>(::dlsym(library, "cuMemHostRegister_v2"));
    DDP_CHECK(register_ != nullptr, "{} has no cuMemHostRegister", "libcuda.so.1");
  }
  bool is_there() const { return register_ != nullptr; }
  void register_memory(void* begin, size_t bytes) const {
    constexpr unsigned kDeviceMap = 2;  // CU_MEMHOSTREGISTER_DEVICEMAP
    if (const int error = register_(begin, bytes, kDeviceMap); error != 0)
      throw Error(ExitCode::os_resource, "cuMemHostRegister of " + std::to_string(bytes) + " bytes: CUDA error " +
                                             std::to_string(error) + " of the driver");
  }

 private:
  using Register = int(void*, size_t, unsigned);
  Register* register_ = nullptr;
};

// The part of the address space that malloc gets all its memory from.
class Heap {
 public:
  explicit Heap(const Driver& driver) {
    ::mallopt(M_ARENA_MAX, 1);
    ::mallopt(M_MMAP_MAX, 0);
    ::mallopt(M_TRIM_THRESHOLD, -1);
    ::mallopt(M_TOP_PAD, int(kHeapBytes));
    std::free(std::malloc(kHeapBytes / 2));  // grows it
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);)
      if (line.ends_with("[heap]")) begin_ = std::stoull(line, nullptr, 16);
    end_ = reinterpret_cast<uintptr_t>(::sbrk(0));
    driver.register_memory(reinterpret_cast<void*>(begin_), end_ - begin_);
  }
  bool contains(uintptr_t address) const { return begin_ <= address && address < end_; }

 private:
  uintptr_t begin_ = 0, end_ = 0;
};

// nullptr where the machine has none: convolutions then fail, and all else is tested.
void* cudnn() {
  try {
    return open_cudnn();
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return nullptr;
  }
}

std::unique_ptr<Device> make_device(int64_t workspace_bytes) {
  const CudaBackend& backend = open_cuda_backend();  // before cuDNN, which a simulated one holds
  static void* const library = cudnn();
  return backend.make_device({.workspace_bytes = workspace_bytes, .cudnn = library});
}

// A device that stays, so that the context does, too. Ends the program as skipped where there is none.
const Driver& driver() {
  static const std::unique_ptr<Device> device = [] {
    try {
      return make_device(CudaOptions{}.workspace_bytes);
    } catch (const Error& e) {
      if (e.code() != ExitCode::usage) throw;
      std::fprintf(stderr, "skipped: %s\n", e.what());
      std::_Exit(kSkipped);
    }
  }();
  static const Driver driver(*device);
  return driver;
}

}  // namespace

int num_settings() { return 2; }  // a run and its repetition

std::vector<DType> storage_types() {
  const std::vector<GpuInfo> gpus = ask_driver().gpus;
  const bool has_bf16 = !gpus.empty() && gpus.front().capability_major >= 8;
  return has_bf16 ? std::vector{DType::f32, DType::f16, DType::bf16} : std::vector{DType::f32, DType::f16};
}

// One for each of hundreds of runs, and simulated memory is not used again.
std::unique_ptr<Device> make_test_device(int) {
  return make_device(driver().is_there() ? CudaOptions{}.workspace_bytes : 1 << 20);
}

const OpTable& test_op_table() { return open_cuda_backend().op_table(/*tf32=*/false); }

bool rows_are_independent() { return false; }  // cuBLASLt chooses by the shape

void lend_to_device(const void* memory, size_t bytes) {
  if (!driver().is_there()) return;
  static const Heap heap(driver());
  static std::set<uintptr_t> registered;
  const auto address = reinterpret_cast<uintptr_t>(memory);
  if (heap.contains(address)) return;
  const auto page_bytes = uintptr_t(::sysconf(_SC_PAGESIZE));
  for (uintptr_t page = address / page_bytes * page_bytes; page < address + bytes; page += page_bytes) {
    if (!registered.insert(page).second) continue;
    void* begin = reinterpret_cast<void*>(page);
    ::mprotect(begin, page_bytes, PROT_READ | PROT_WRITE);  // constants too: only what may be written can be registered
    driver().register_memory(begin, page_bytes);
  }
}

}  // namespace ddp::test
