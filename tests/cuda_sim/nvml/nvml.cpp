// A libnvidia-ml with as many GPUs as DDP_SIM_GPUS says (0: no driver; -1: one of another version than the
// library, as after an update), of compute capability DDP_SIM_CAPABILITY ("7.5" where not set).
#include <cstdio>
#include <cstdlib>

namespace {

constexpr int kSuccess = 0, kInvalidArgument = 2, kDriverNotLoaded = 9, kVersionMismatch = 18;

int num_gpus() {
  const char* text = std::getenv("DDP_SIM_GPUS");
  return text != nullptr ? std::atoi(text) : 0;
}

long index_of(void* device) { return reinterpret_cast<long>(device) - 1; }

}  // namespace

extern "C" {

int nvmlInit_v2() {
  if (num_gpus() < 0) return kVersionMismatch;
  return num_gpus() > 0 ? kSuccess : kDriverNotLoaded;
}
int nvmlShutdown() { return kSuccess; }
const char* nvmlErrorString(int error) {
  return error == kVersionMismatch ? "Driver/library version mismatch" : "simulated NVML error";
}

int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = unsigned(num_gpus());
  return kSuccess;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  if (int(index) >= num_gpus()) return kInvalidArgument;
  *device = reinterpret_cast<void*>(long(index) + 1);
  return kSuccess;
}

int nvmlDeviceGetUUID(void* device, char* text, unsigned length) {
  std::snprintf(text, length, "GPU-%08lx-0000-0000-0000-000000000000", 0x51000000 + index_of(device));
  return kSuccess;
}

int nvmlDeviceGetName(void*, char* text, unsigned length) {
  std::snprintf(text, length, "Simulated GPU");
  return kSuccess;
}

int nvmlDeviceGetCudaComputeCapability(void*, int* major, int* minor) {
  const char* text = std::getenv("DDP_SIM_CAPABILITY");
  return std::sscanf(text != nullptr ? text : "7.5", "%d.%d", major, minor) == 2 ? kSuccess : kInvalidArgument;
}

}  // extern "C"
