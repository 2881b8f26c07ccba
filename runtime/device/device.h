// Device, Stream and Event: the seam between the trainer and a backend (cpu, cuda), and the dry run (meta).
// Two verbs order work, everywhere: event.record(stream) and stream.wait(event). The host waits for an event only
// outside a step, or for the metrics of the step before.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "runtime/base/wait.h"
#include "runtime/device/tensor.h"

namespace ddp {

enum class DeviceKind : uint8_t { cpu, cuda, meta };

// What a stream is for. A backend derives priority and threads from it: compute has the device's threads, communication
// runs ahead of compute (CUDA: the highest priority; CPU: one thread of its own), copy moves input data.
enum class StreamRole : uint8_t { compute, communication, copy };

struct MemoryInfo {
  int64_t in_use_bytes = 0;  // allocated through the device
  int64_t taken_bytes = 0;   // as the card reports it: contexts, libraries and other processes too; CPU: in_use_bytes
  int64_t total_bytes = 0;   // of the machine or card
};

class Stream;
class Event;
class Graph;

// What a backend implements; host memory and graphs have defaults for devices without either. The protected calls take
// opaque handles and are reached through Stream, Event and Graph, which own these. Thread-compatible: one host thread
// enqueues.
class Device {
 public:
  virtual ~Device() = default;
  virtual DeviceKind kind() const = 0;
  virtual std::string name() const = 0;  // "cpu", "NVIDIA H100 80GB HBM3"
  // Memory of the device, 256-byte aligned, uninitialised. Errors: os_resource (71) naming the bytes asked for and what
  // is free.
  virtual void* allocate(int64_t bytes) = 0;
  virtual void deallocate(void* memory, int64_t bytes) noexcept = 0;
  // Host memory that copies to and from the device may use while the host runs on: pinned on CUDA, plain elsewhere.
  // 64-byte aligned, uninitialised. Errors: os_resource (71).
  virtual void* allocate_host(int64_t bytes);
  virtual void deallocate_host(void* memory) noexcept;
  virtual MemoryInfo memory_info() const = 0;
  // Whether Graph works here: on CUDA.
  virtual bool has_graphs() const { return false; }

  // Number of allocate() calls so far: constant after the first step (a test reads it).
  int64_t num_allocations() const { return num_allocations_.load(std::memory_order_relaxed); }

 protected:
  friend class Stream;
  friend class Event;
  friend class Graph;
  virtual void* create_stream(StreamRole role) = 0;
  virtual void destroy_stream(void* stream) noexcept = 0;  // waits for queued work
  virtual void* create_event() = 0;
  virtual void destroy_event(void* event) noexcept = 0;
  virtual void record(void* event, void* stream) = 0;
  virtual void wait(void* stream, void* event) = 0;  // what follows on `stream` runs after the event's latest record
  // True when the work before the event's latest record is done (or it was never recorded).
  virtual bool query(void* event) = 0;
  // Blocks the host until query() holds. Rethrows the first error of work on the device. Throws as waits do.
  virtual void synchronize(void* event, const WaitPolicy& policy) = 0;
  // Time between two completed records, ms.
  virtual double elapsed_ms(void* begin, void* end) = 0;
  // Stream-ordered. `to` and `from` are host or device memory that stays valid until the copy ran.
  virtual void copy(void* to, const void* from, int64_t bytes, void* stream) = 0;
  virtual void fill_zero(void* to, int64_t bytes, void* stream) = 0;
  // Graphs, where the device has them. Between begin and end, what the calling thread enqueues on `stream`, and on
  // streams that wait for its events, is recorded instead of run; end returns a graph. Work of a graph is ordered by
  // these streams and events alone, so all streams must be joined by events before the end, and none may wait for an
  // event from before the beginning. Nothing may allocate, query or block meanwhile. Errors: os_resource (71).
  virtual void begin_capture(void* stream);
  virtual void* end_capture(void* stream);
  virtual void launch_graph(void* graph, void* stream);
  virtual void destroy_graph(void* graph) noexcept;

  std::atomic<int64_t> num_allocations_{0};
};

// An in-order queue of work. Move-only owner.
class Stream {
 public:
  Stream(Device& device, StreamRole role) : device_(&device), role_(role), handle_(device.create_stream(role)) {}
  Stream(Stream&& other) noexcept;
  Stream& operator=(Stream&&) = delete;
  ~Stream();
  void wait(const Event& event);  // what follows runs after the event's latest record
  // `to` and `from` are host or device memory that stays valid until the copy ran.
  void copy(void* to, const void* from, int64_t bytes) { device_->copy(to, from, bytes, handle_); }
  void zero(const TensorView& x) { device_->fill_zero(x.data, x.bytes(), handle_); }
  // Blocks the host until all that is enqueued by now has run. Rethrows the first error of work on the device. Throws
  // as waits do.
  void synchronize(const WaitPolicy& policy);
  Device& device() const { return *device_; }
  StreamRole role() const { return role_; }
  void* handle() const { return handle_; }  // for the device's backend

 private:
  friend class Event;
  friend class Graph;
  Device* device_;
  StreamRole role_;
  void* handle_;
};

// A point in a stream. Move-only owner; may be recorded again and again.
class Event {
 public:
  explicit Event(Device& device) : device_(&device), handle_(device.create_event()) {}
  Event(Event&& other) noexcept;
  Event& operator=(Event&&) = delete;
  ~Event();
  void record(const Stream& stream) { device_->record(handle_, stream.handle_); }
  bool query() const { return device_->query(handle_); }
  void synchronize(const WaitPolicy& policy) const { device_->synchronize(handle_, policy); }
  double ms_since(const Event& begin) const { return device_->elapsed_ms(begin.handle_, handle_); }
  void* handle() const { return handle_; }  // for the device's backend

 private:
  friend class Stream;
  Device* device_;
  void* handle_;
};

inline void Stream::wait(const Event& event) { device_->wait(handle_, event.handle_); }

// Work that is recorded once and launched as one, with the same arguments each time. Move-only owner; all launches must
// be done when it is destroyed.
class Graph {
 public:
  // Records what `enqueue` enqueues on `stream` and on the streams that it forks to and joins; nothing runs.
  Graph(Stream& stream, const std::function<void()>& enqueue);
  Graph(Graph&& other) noexcept;
  Graph& operator=(Graph&&) = delete;
  ~Graph();
  void launch(const Stream& stream) const { device_->launch_graph(handle_, stream.handle_); }

 private:
  Device* device_;
  void* handle_ = nullptr;
};

enum class MemoryPlace : uint8_t { device, host };

// Owner of `count` elements of T in memory of a device, or in host memory that it copies from and to. Move-only; count
// is in elements.
template <class T, MemoryPlace place>
class BasicBuffer {
 public:
  BasicBuffer() = default;
  BasicBuffer(Device& device, int64_t count) : device_(&device), count_(count), data_(static_cast<T*>(allocate())) {}
  BasicBuffer(BasicBuffer&& other) noexcept { swap(other); }
  BasicBuffer& operator=(BasicBuffer&& other) noexcept {
    BasicBuffer(std::move(other)).swap(*this);
    return *this;
  }
  ~BasicBuffer() {
    if (data_ == nullptr) return;
    if constexpr (place == MemoryPlace::device)
      device_->deallocate(data_, bytes());
    else
      device_->deallocate_host(data_);
  }
  T* data() const { return data_; }
  int64_t count() const { return count_; }
  int64_t bytes() const { return count_ * int64_t(sizeof(T)); }
  explicit operator bool() const { return data_ != nullptr; }
  TensorView view() const { return {data_, kDTypeOf<T>, {count_}}; }
  TensorView view(const Shape& shape) const { return view().view(shape); }

 private:
  void* allocate() {
    if constexpr (place == MemoryPlace::device)
      return device_->allocate(bytes());
    else
      return device_->allocate_host(bytes());
  }
  void swap(BasicBuffer& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(count_, other.count_);
    std::swap(data_, other.data_);
  }
  Device* device_ = nullptr;
  int64_t count_ = 0;
  T* data_ = nullptr;
};

template <class T>
using Buffer = BasicBuffer<T, MemoryPlace::device>;
template <class T>
using HostBuffer = BasicBuffer<T, MemoryPlace::host>;

struct CpuOptions {
  int num_threads = 1;       // of the compute stream
  bool pin_threads = false;  // to consecutive cores from `first_core`: should_pin()
  int first_core = 0;
  int spin_pauses = 2000;  // before a waiting thread sleeps; 0 when ranks outnumber cores
};
std::unique_ptr<Device> make_cpu_device(const CpuOptions& options);
// The dry run: allocates addresses that nobody may touch, runs nothing.
std::unique_ptr<Device> make_meta_device();

}  // namespace ddp
