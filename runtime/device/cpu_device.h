// The CPU backend's streams: a stream is a real queue with a worker thread, so that trainer and reducer are the same
// code on every device, and a missing wait is a race on a laptop too.
#pragma once

#include <cstddef>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <thread>
#include <type_traits>

#include "runtime/device/device.h"
#include "runtime/device/thread_pool.h"

namespace ddp {

class CpuDevice;

// Single producer (the host thread), single consumer (the worker). A full queue blocks the producer.
class CpuQueue {
 public:
  // Errors: os_resource (71) where a thread cannot be started.
  CpuQueue(CpuDevice& device, const ThreadPoolOptions& pool);
  ~CpuQueue();  // runs what is queued, then ends the worker

  // Runs f(ThreadPool&) on the worker, in order. After a failure on the device only tasks marked `always` run (events,
  // so that nobody waits for ever); the error reaches the host in Device::synchronize.
  template <class F>
  void enqueue(F f, bool always = false) {
    static_assert(std::is_trivially_copyable_v<F> && sizeof(F) <= kMaxClosure && alignof(F) <= 16);
    Task& task = wait_for_room();
    new (task.closure) F(f);
    task.call = [](void* closure, ThreadPool& pool) { (*static_cast<F*>(closure))(pool); };
    task.always = always;
    publish();
  }

 private:
  static constexpr size_t kMaxClosure = 1024;
  static constexpr uint32_t kCapacity = 1024;
  struct Task {
    alignas(16) std::byte closure[kMaxClosure];
    void (*call)(void* closure, ThreadPool& pool);
    bool always;
  };
  Task& wait_for_room();
  void publish();
  void work_loop();

  CpuDevice& device_;
  ThreadPoolOptions pool_options_;
  std::unique_ptr<Task[]> tasks_;
  FutexWord produced_{0}, consumed_{0};
  std::atomic<bool> quit_{false};
  ThreadPool pool_;     // used by the worker alone
  std::thread worker_;  // last: it uses the others
};

// The queue behind a stream of the CPU device.
CpuQueue& cpu_queue(Stream& stream);

// How an op runs on the CPU: f(ThreadPool&), in stream order.
template <class F>
void cpu_enqueue(Stream& stream, F f) {
  cpu_queue(stream).enqueue(f);
}

// In ThreadSanitizer builds: reports these ranges as read and written at this point of the stream, since oneDNN and
// vector code may hide accesses from the tool. Elsewhere nothing.
void cpu_note_access(Stream& stream, std::initializer_list<TensorView> reads, std::initializer_list<TensorView> writes);

}  // namespace ddp
