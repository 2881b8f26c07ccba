// The subset of the CUDA runtime that the project calls, on the simulated GPU; built against the real header and linked
// in place of the library. Versions for tests: DDP_SIM_DRIVER=12040 is a driver too old, 0 no driver.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "runtime/base/hash.h"
#include "tests/cuda_sim/api/capture.h"
#include "tests/cuda_sim/api/counts.h"
#include "tests/cuda_sim/api/gpu.h"
#include "tests/cuda_sim/api/memory.h"
#include "tests/cuda_sim/bridge.h"
#include "tests/cuda_sim/report.h"

using namespace ddp::sim;

namespace {

// A call that no capture allows.
#define REFUSE_IN_CAPTURE(...) \
  if (const cudaError_t refused = refuse_in_capture(__VA_ARGS__); refused != cudaSuccess) return note(refused)

constexpr int kHighestPriority = -5, kLowestPriority = 0;

thread_local cudaError_t last_error = cudaSuccess;

cudaError_t note(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
  return error;
}

int driver_version() {
  const char* text = std::getenv("DDP_SIM_DRIVER");
  return text != nullptr ? std::atoi(text) : CUDART_VERSION;
}

int num_devices() {
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (visible == nullptr) return 1;
  const std::string_view text = visible;
  return text.empty() ? 0 : 1 + int(std::count(text.begin(), text.end(), ','));
}

uint64_t hash_of(const void* memory, size_t bytes) { return ddp::xxh3({static_cast<const std::byte*>(memory), bytes}); }

bool done() { return true; }

// Faults that tests plant: the code under test is unchanged, and its call has no effect.
bool is_wait_dropped(cudaStream_t stream, cudaEvent_t event) {
  const bool to_communication = stream->priority < event->stream_priority;
  const bool from_communication = stream->priority > event->stream_priority;
  return (to_communication && is_planted("no-wait-before-all-reduce")) ||
         (from_communication && is_planted("no-wait-before-update"));
}

}  // namespace

namespace ddp::sim {

void enqueue_kernel(cudaStream_t stream, const char* name, std::function<void()> run) {
  static const bool hooked = (set_access_hook(note_access), true);
  (void)hooked;
  gpu().submit(stream, name, [name, run = std::move(run)]() -> bool {
    const KernelCounters before = kernel_counters();
    run();
    const KernelCounters& after = kernel_counters();
    count_kernel(name, after.bytes_read - before.bytes_read, after.bytes_written - before.bytes_written);
    check_guards(name);
    return true;
  });
}

}  // namespace ddp::sim

extern "C" {

cudaError_t cudaDriverGetVersion(int* version) {
  *version = driver_version();
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  if (driver_version() < CUDART_VERSION / 1000 * 1000) return note(cudaErrorInsufficientDriver);
  *count = num_devices();
  return *count == 0 ? note(cudaErrorNoDevice) : cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  return note(device >= 0 && device < num_devices() ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  *properties = {};
  std::strcpy(properties->name, "simulated GPU");
  const char* capability = std::getenv("DDP_SIM_CAPABILITY");
  std::sscanf(capability != nullptr ? capability : "7.5", "%d.%d", &properties->major, &properties->minor);
  return note(device >= 0 && device < num_devices() ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
  *attributes = {};
  if (is_planted("no-kernel-for-gpu")) return note(cudaErrorNoKernelImageForDevice);
  return note(is_planted("driver-compiles-no-ptx") ? cudaErrorUnsupportedPtxVersion : cudaSuccess);
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = kLowestPriority;
  *greatest = kHighestPriority;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  REFUSE_IN_CAPTURE();
  count_host_synchronisation("cudaMalloc");
  *memory = allocate_device(bytes);
  return note(*memory != nullptr ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaFree(void* memory) {
  REFUSE_IN_CAPTURE();
  if (memory == nullptr) return cudaSuccess;
  count_host_synchronisation("cudaFree");
  gpu().wait_for_all();
  return note(free_device(memory) ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned) {
  REFUSE_IN_CAPTURE();
  count_host_synchronisation("cudaHostAlloc");
  *memory = allocate_pinned(bytes);
  return note(*memory != nullptr ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeHost(void* memory) {
  REFUSE_IN_CAPTURE();
  if (memory == nullptr) return cudaSuccess;
  count_host_synchronisation("cudaFreeHost");
  gpu().wait_for_all();
  return note(free_pinned(memory) ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *total = device_bytes_total();
  *free = *total - device_bytes_used();
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int priority) {
  *stream = gpu().create_stream(std::clamp(priority, kHighestPriority, kLowestPriority));
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  gpu().destroy_stream(stream);
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  cudaError_t result = capture_error(stream);
  if (result != cudaSuccess || is_wait_dropped(stream, event) || wait_in_capture(stream, event, result))
    return note(result);
  if (event->record) gpu().submit(stream, "event wait", Run(done), {event->record});
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  *event = new CUevent_st;
  (*event)->has_timing = (flags & cudaEventDisableTiming) == 0;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->stream_priority = stream->priority;
  event->record = nullptr;
  if (record_in_capture(event, stream)) return note(capture_error(stream));
  const WorkPtr newest = gpu().newest(stream);
  const bool after_upload = newest && newest->is_upload_of_pinned;
  event->record = gpu().submit(stream, "event record", Run(done));
  event->record->is_upload_of_pinned = after_upload;
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  REFUSE_IN_CAPTURE();
  if (event->capture) return note(cudaErrorCapturedEvent);
  if (event->record && event->record->is_upload_of_pinned && is_planted("staging-overwritten")) return cudaSuccess;
  return gpu().is_done(event->record) ? cudaSuccess : cudaErrorNotReady;
}

// The project's ranks may call none of these three, nor cudaMemcpy, which is not simulated: a test counts them.
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  REFUSE_IN_CAPTURE();
  count_host_synchronisation("cudaEventSynchronize");
  gpu().wait(event->record);
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  REFUSE_IN_CAPTURE();
  count_host_synchronisation("cudaStreamSynchronize");
  gpu().wait(gpu().newest(stream));
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  REFUSE_IN_CAPTURE();
  count_host_synchronisation("cudaDeviceSynchronize");
  gpu().wait_for_all();
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t begin, cudaEvent_t end) {
  if (begin->capture || end->capture) return note(cudaErrorCapturedEvent);
  if (!begin->has_timing || !end->has_timing || !begin->record || !end->record)
    return note(cudaErrorInvalidResourceHandle);
  if (!gpu().is_done(begin->record) || !gpu().is_done(end->record)) return cudaErrorNotReady;
  *ms = float(end->record->finished_ms - begin->record->finished_ms);
  return cudaSuccess;
}

// A host that reads the target too early sees NaN; one that writes to the source too early is reported.
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (kind != cudaMemcpyDefault) return note(cudaErrorInvalidMemcpyDirection);  // the project passes no other
  const bool upload = !is_device_memory(from), download = !is_device_memory(to);
  if ((upload && !is_pinned(from)) || (download && !is_pinned(to))) {
    if (const cudaError_t refused = refuse_in_capture(stream); refused != cudaSuccess) return note(refused);
    count_host_synchronisation("cudaMemcpyAsync of pageable memory");
  }
  const Prepare prepare = [=] {
    const uint64_t hash = upload ? hash_of(from, bytes) : 0;
    if (download) std::memset(to, 0xFF, bytes);
    return Run([=] {
      if (upload && hash_of(from, bytes) != hash)
        report("staging overwritten", "the host changed the source of an upload of {} bytes before it ran", bytes);
      note_access(from, bytes, false);
      note_access(to, bytes, true);
      std::memcpy(to, from, bytes);
      return true;
    });
  };
  const WorkPtr work = gpu().submit(stream, upload ? "upload" : download ? "download" : "copy", prepare);
  if (work) work->is_upload_of_pinned = upload && is_pinned(from);
  return note(capture_error(stream));
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  gpu().submit(stream, "memset", Run([=] {
                 note_access(to, bytes, true);
                 std::memset(to, value, bytes);
                 return true;
               }));
  return note(capture_error(stream));
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorStreamCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated:
      return "cudaErrorStreamCaptureInvalidated";
    case cudaErrorStreamCaptureUnjoined:
      return "cudaErrorStreamCaptureUnjoined";
    case cudaErrorStreamCaptureIsolation:
      return "cudaErrorStreamCaptureIsolation";
    case cudaErrorCapturedEvent:
      return "cudaErrorCapturedEvent";
    default:
      return "cudaErrorOther";
  }
}

const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }

}  // extern "C"
