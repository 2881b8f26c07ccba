#include "runtime/device/cpu_device.h"

#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>

#include "runtime/base/bytes_text.h"
#include "runtime/base/clock.h"
#include "runtime/base/rounding.h"
#include "runtime/base/start_thread.h"
#include "runtime/device/out_of_memory.h"

#if defined(__SANITIZE_THREAD__)
extern "C" void __tsan_read_range(void* address, unsigned long size);
extern "C" void __tsan_write_range(void* address, unsigned long size);
#endif

namespace ddp {
namespace {

constexpr int64_t kHugePage = 2 << 20;

size_t round_to_huge(int64_t bytes) { return size_t(round_up(bytes, kHugePage)); }

// Memory in huge pages, where the system gives them: a step walks gigabytes, and 4 KiB pages miss the TLB all the time.
void* map_huge(int64_t bytes) {
  const size_t size = round_to_huge(bytes), mapped = size + size_t(kHugePage);
  void* all = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) return nullptr;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(all), aligned = (begin + kHugePage - 1) / kHugePage * kHugePage;
  if (aligned > begin) ::munmap(all, aligned - begin);
  ::munmap(reinterpret_cast<void*>(aligned + size), mapped - size - (aligned - begin));
  ::madvise(reinterpret_cast<void*>(aligned), size, MADV_HUGEPAGE);  // a hint; may fail
  return reinterpret_cast<void*>(aligned);
}

// oneDNN packs operands into memory from malloc in every call. Kept by the process instead of mapped and unmapped each
// time, this costs no page faults (GPT-2 small, two Zen 5 cores: 30% of the GEMM rate, 2026-11-24).
void keep_freed_memory() {
  ::mallopt(M_MMAP_THRESHOLD, 1 << 30);
  ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

// Queued tasks share the event with its owner, so that an Event may be destroyed while work on it is still queued.
struct CpuEvent {
  FutexWord done{0};     // number of the latest record that ran
  uint32_t issued = 0;   // number of the latest record enqueued; host thread only
  int64_t stamp_ns = 0;  // when the latest record ran
  std::atomic<int> owners{1};

  CpuEvent* share() {
    owners.fetch_add(1, std::memory_order_relaxed);
    return this;
  }
  void release() {
    if (owners.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }
};

}  // namespace

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(const CpuOptions& options) : options_(options) {}

  DeviceKind kind() const override { return DeviceKind::cpu; }
  std::string name() const override { return "cpu"; }

  void* allocate(int64_t bytes) override {
    num_allocations_.fetch_add(1, std::memory_order_relaxed);
    void* memory = bytes >= kHugePage ? map_huge(bytes) : std::aligned_alloc(256, size_t(bytes / 256 + 1) * 256);
    if (memory == nullptr)
      throw OutOfMemory(fmt::format("cannot allocate a buffer of {}: {}", bytes_text(bytes), memory_in_use()),
                        in_use_.load(std::memory_order_relaxed) + free_memory_bytes());
    in_use_.fetch_add(bytes, std::memory_order_relaxed);
    return memory;
  }

  void deallocate(void* memory, int64_t bytes) noexcept override {
    in_use_.fetch_sub(bytes, std::memory_order_relaxed);
    if (bytes >= kHugePage)
      ::munmap(memory, round_to_huge(bytes));
    else
      std::free(memory);
  }

  void* create_stream(StreamRole role) override {
    const bool compute = role == StreamRole::compute;
    return new CpuQueue(*this, {.num_threads = compute ? options_.num_threads : 1,
                                .first_core = compute && options_.pin_threads ? options_.first_core : -1,
                                .spin_pauses = options_.spin_pauses});
  }
  void destroy_stream(void* stream) noexcept override { delete static_cast<CpuQueue*>(stream); }

  void* create_event() override { return new CpuEvent; }
  void destroy_event(void* event) noexcept override { static_cast<CpuEvent*>(event)->release(); }

  void record(void* event, void* stream) override {
    CpuEvent* e = static_cast<CpuEvent*>(event)->share();
    const uint32_t number = ++e->issued;
    static_cast<CpuQueue*>(stream)->enqueue(
        [e, number](ThreadPool&) {
          e->stamp_ns = monotonic_ns();
          e->done.store(number, std::memory_order_release);
          wake_all(e->done);
          e->release();
        },
        /*always=*/true);
  }

  void wait(void* stream, void* event) override {
    CpuEvent* e = static_cast<CpuEvent*>(event)->share();
    const uint32_t number = e->issued;
    const int spin = options_.spin_pauses;
    // No deadline of its own: what the event waits for has one, and records its event even when it fails.
    static_cast<CpuQueue*>(stream)->enqueue(
        [e, number, spin](ThreadPool&) {
          wait_until_reached(e->done, number, no_deadline(spin), "event");
          e->release();
        },
        /*always=*/true);
  }

  bool query(void* event) override {
    const CpuEvent* e = static_cast<CpuEvent*>(event);
    return int32_t(e->done.load(std::memory_order_acquire) - e->issued) >= 0;
  }

  void synchronize(void* event, const WaitPolicy& policy) override {
    const CpuEvent* e = static_cast<CpuEvent*>(event);
    wait_until_reached(e->done, e->issued, policy, "device work");
    if (failed_.load(std::memory_order_acquire)) std::rethrow_exception(error_);
  }

  double elapsed_ms(void* begin, void* end) override {
    return ms_between(static_cast<CpuEvent*>(begin)->stamp_ns, static_cast<CpuEvent*>(end)->stamp_ns);
  }

  void copy(void* to, const void* from, int64_t bytes, void* stream) override {
    static_cast<CpuQueue*>(stream)->enqueue([=](ThreadPool&) { std::memcpy(to, from, size_t(bytes)); });
  }

  void fill_zero(void* to, int64_t bytes, void* stream) override {
    static_cast<CpuQueue*>(stream)->enqueue([=](ThreadPool&) { std::memset(to, 0, size_t(bytes)); });
  }

  MemoryInfo memory_info() const override {
    const int64_t in_use = in_use_.load(std::memory_order_relaxed);
    return {.in_use_bytes = in_use,
            .taken_bytes = in_use,
            .total_bytes = int64_t(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE)};
  }

  bool failed() const { return failed_.load(std::memory_order_acquire); }

  void fail(std::exception_ptr error) {
    const std::lock_guard lock(error_mutex_);
    if (error_) return;  // the first error is the cause
    error_ = std::move(error);
    failed_.store(true, std::memory_order_release);
  }

 private:
  CpuOptions options_;
  std::atomic<int64_t> in_use_{0};
  std::mutex error_mutex_;
  std::exception_ptr error_;
  std::atomic<bool> failed_{false};
};

CpuQueue::CpuQueue(CpuDevice& device, const ThreadPoolOptions& pool)
    : device_(device),
      pool_options_(pool),
      tasks_(new Task[kCapacity]),
      pool_(pool),
      worker_(start_thread("a stream's thread", [this] { work_loop(); })) {}

CpuQueue::~CpuQueue() {
  enqueue([this](ThreadPool&) { quit_.store(true, std::memory_order_relaxed); }, /*always=*/true);
  worker_.join();
}

CpuQueue::Task& CpuQueue::wait_for_room() {
  const uint32_t mine = produced_.load(std::memory_order_relaxed);
  wait_until_reached(consumed_, mine - (kCapacity - 1), no_deadline(0), "a full stream");
  return tasks_[mine % kCapacity];
}

void CpuQueue::publish() {
  produced_.fetch_add(1, std::memory_order_release);
  wake_all(produced_);
}

void CpuQueue::work_loop() {
  if (pool_options_.first_core >= 0) pin_this_thread(pool_options_.first_core);
  for (uint32_t next = 0; !quit_.load(std::memory_order_relaxed); ++next) {
    wait_until_reached(produced_, next + 1, no_deadline(pool_options_.spin_pauses), "idle stream");
    Task& task = tasks_[next % kCapacity];
    if (task.always || !device_.failed()) {
      try {
        task.call(task.closure, pool_);
      } catch (...) {
        device_.fail(std::current_exception());
      }
    }
    consumed_.store(next + 1, std::memory_order_release);
    wake_all(consumed_);
  }
}

CpuQueue& cpu_queue(Stream& stream) {
  DDP_CHECK(stream.device().kind() == DeviceKind::cpu, "a CPU op on a stream of another device");
  return *static_cast<CpuQueue*>(stream.handle());
}

void cpu_note_access([[maybe_unused]] Stream& stream, [[maybe_unused]] std::initializer_list<TensorView> reads,
                     [[maybe_unused]] std::initializer_list<TensorView> writes) {
#if defined(__SANITIZE_THREAD__)
  if (stream.device().kind() != DeviceKind::cpu) return;
  for (const TensorView& x : reads)
    if (x) cpu_enqueue(stream, [x](ThreadPool&) { __tsan_read_range(x.data, (unsigned long)x.bytes()); });
  for (const TensorView& x : writes)
    if (x) cpu_enqueue(stream, [x](ThreadPool&) { __tsan_write_range(x.data, (unsigned long)x.bytes()); });
#endif
}

std::unique_ptr<Device> make_cpu_device(const CpuOptions& options) {
  keep_freed_memory();
  return std::make_unique<CpuDevice>(options);
}

}  // namespace ddp
