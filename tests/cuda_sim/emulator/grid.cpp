#include "tests/cuda_sim/emulator/grid.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <string_view>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <pthread.h>
#include <sanitizer/common_interface_defs.h>
#endif

#include "tests/cuda_sim/emulator/fiber.h"
#include "tests/cuda_sim/report.h"

namespace ddp::sim {

Machine machine;
thread_local bool runs_grid = false;

namespace {

constexpr size_t kStackColours = 8192;  // stacks a power of two apart would share cache sets

struct Scheduler {
  Schedule schedule = Schedule::random;
  uint64_t state = 0x9e3779b97f4a7c15u;
  Thread* ready[kMaxThreads];
  int num_threads = 0, num_ready = 0, num_live = 0, num_at_barrier = 0;
  int barrier_site = 0;
  void* host_stack_pointer = nullptr;
  void (*body)(const void*) = nullptr;

  Scheduler() {
    const char* name = std::getenv("DDP_SIM_SCHEDULE");
    const char* seed = std::getenv("DDP_SIM_SEED");
    set(name == nullptr || std::string_view(name) == "random" ? Schedule::random
        : std::string_view(name) == "descending"              ? Schedule::descending
                                                              : Schedule::ascending,
        seed == nullptr ? 0 : std::strtoull(seed, nullptr, 10));
  }

  void set(Schedule s, uint64_t seed) { schedule = s, state = 0x9e3779b97f4a7c15u + seed * 0xd1342543de82ef95u; }

  // xorshift64
  uint32_t below(uint32_t n) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return uint32_t(state >> 20) % n;
  }

  void push(Thread& t) {
    t.state = Thread::State::ready;
    ready[num_ready++] = &t;
  }

  // Of all threads in `state`, so that the schedule's first is on top.
  void push_all(Thread::State state) {
    for (int i = 0; i < num_threads; ++i) {
      Thread& t = machine.threads[schedule == Schedule::descending ? i : num_threads - 1 - i];
      if (t.state == state) push(t);
    }
  }

  Thread* pop() {
    if (num_ready == 0) return nullptr;
    if (schedule == Schedule::random) std::swap(ready[below(uint32_t(num_ready))], ready[num_ready - 1]);
    return ready[--num_ready];
  }
};

Scheduler& scheduler() {
  static Scheduler s;
  return s;
}

#if defined(__SANITIZE_ADDRESS__)
struct HostStack {
  HostStack() {
    pthread_attr_t attributes;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &bottom, &bytes);
    pthread_attr_destroy(&attributes);
  }
  void* bottom = nullptr;
  size_t bytes = 0;
};
#endif

// Continues `next` (nullptr: the host, which gets control when the block ends).
void switch_to(Thread* next) {
  Scheduler& s = scheduler();
  Thread* self = std::exchange(machine.current, next);
  if (self == next) return;
  void* to = next != nullptr ? next->stack_pointer : s.host_stack_pointer;
#if defined(__SANITIZE_ADDRESS__)
  static thread_local const HostStack host;
  void* fake_stack = nullptr;
  const bool ends = self != nullptr && self->state == Thread::State::done;
  __sanitizer_start_switch_fiber(ends ? nullptr : &fake_stack, next != nullptr ? next->stack : host.bottom,
                                 next != nullptr ? kStackBytes : host.bytes);
#endif
  ddp_sim_switch(self != nullptr ? &self->stack_pointer : &s.host_stack_pointer, to);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

void release_barrier() {
  Scheduler& s = scheduler();
  ++machine.epoch;
  s.num_at_barrier = 0;
  s.push_all(Thread::State::at_barrier);
}

// Runs the operation that the lanes of `mask` wait for, if all that live have come.
bool try_warp_operation(Warp& warp, unsigned mask) {
  const unsigned lanes = mask & warp.live;
  if (lanes == 0 || (warp.arrived & lanes) != lanes) return false;
  const WarpOp op = warp.lane[__builtin_ctz(lanes)]->op;
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
    const Thread& t = *warp.lane[__builtin_ctz(rest)];
    if (t.op != op || t.mask != mask)
      report("divergent warp operation",
             "lane {} waits in another operation, or with mask {:08x} instead of {:08x}, {}", t.lane, t.mask, mask,
             where());
  }
  if (op != nullptr)
    op(warp, lanes);
  else if (lanes == warp.live)
    ++warp.epoch;
  warp.arrived &= ~lanes;
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
    Thread& t = *warp.lane[__builtin_ctz(rest)];
    if (&t != machine.current) scheduler().push(t);
  }
  return true;
}

void run_another() {
  Scheduler& s = scheduler();
  Thread* next = s.pop();
  if (next == nullptr)
    report("divergent barrier", "{} of {} threads wait at __syncthreads for others that cannot come, {}",
           s.num_at_barrier, s.num_live, where());
  switch_to(next);
}

void end_of_thread() {
  Scheduler& s = scheduler();
  Thread& self = *machine.current;
  self.state = Thread::State::done;
  --s.num_live;
  Warp& warp = *self.warp;
  warp.live &= ~(1u << self.lane);
  if (s.num_live > 0 && s.num_at_barrier == s.num_live) release_barrier();
  for (unsigned rest = warp.arrived & warp.live; rest != 0; rest &= rest - 1)
    if (try_warp_operation(warp, warp.lane[__builtin_ctz(rest)]->mask)) break;
  Thread* next = s.pop();
  if (next == nullptr && s.num_live > 0)
    report("divergent barrier", "{} threads wait for others that have returned, {}", s.num_live, where());
  switch_to(next);
  __builtin_unreachable();
}

void thread_main() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
  scheduler().body(machine.call);
  end_of_thread();
}

void start_thread(Thread& t, int i) {
  const dim3 b = machine.block_dim;
  const auto u = unsigned(i);
  t.linear = u, t.lane = u % 32;
  t.index = {u % b.x, u / b.x % b.y, u / (b.x * b.y)};
  t.warp = &machine.warps[i / 32];
  t.warp->lane[t.lane] = &t;
  t.warp->live |= 1u << t.lane;
  t.stack = stack_of(machine.stacks, i, kStackBytes);
  t.stack_pointer = prepare_stack(t.stack, kStackBytes - (u * 704) % kStackColours, thread_main);
  t.state = Thread::State::ready;
}

// Returns false when its threads waited for ever, which is reported.
bool run_block(const dim3& grid, uint32_t block) {
  Scheduler& s = scheduler();
  machine.block_index = {block % grid.x, block / grid.x % grid.y, block / (grid.x * grid.y)};
  std::memset(machine.shared, 0xff, machine.shared_bytes);  // NaN
  machine.block_first_epoch = ++machine.epoch;
  s.num_live = s.num_threads, s.num_at_barrier = s.num_ready = 0;
  for (Warp& w : machine.warps) w.live = w.arrived = w.epoch = 0;
  for (int i = 0; i < s.num_threads; ++i) start_thread(machine.threads[i], i);
  s.push_all(Thread::State::ready);
  switch_to(s.pop());
  return s.num_live == 0;
}

}  // namespace

void set_schedule(Schedule schedule, uint64_t seed) { scheduler().set(schedule, seed); }

KernelCounters& counters() {
  static KernelCounters c;
  return c;
}

const KernelCounters& kernel_counters() { return counters(); }

std::string where() {
  if (machine.current == nullptr) return fmt::format("in {}", machine.kernel);
  const uint3 b = machine.block_index, t = machine.current->index;
  return fmt::format("in {}, block ({},{},{}), thread ({},{},{})", machine.kernel, b.x, b.y, b.z, t.x, t.y, t.z);
}

void block_barrier(int site) {
  Scheduler& s = scheduler();
  if (s.num_at_barrier == 0) s.barrier_site = site;
  if (site != s.barrier_site)
    report("divergent barrier", "threads of one block wait at __syncthreads of lines {} and {}, {}", s.barrier_site,
           site, where());
  if (++s.num_at_barrier == s.num_live) return release_barrier();
  machine.current->state = Thread::State::at_barrier;
  run_another();
}

void warp_operation(unsigned mask, void* operand, WarpOp op) {
  Thread& self = *machine.current;
  if ((mask >> self.lane & 1) == 0)
    report("divergent warp operation", "lane {} is not in the mask {:08x}, {}", self.lane, mask, where());
  self.mask = mask, self.operand = operand, self.op = op;
  self.warp->arrived |= 1u << self.lane;
  if (try_warp_operation(*self.warp, mask)) return;
  self.state = Thread::State::in_warp_op;
  run_another();
}

std::byte* shared_memory(size_t bytes) {
  if (bytes > machine.shared_bytes)
    report("shared memory out of bounds", "{} bytes used, {} launched, {}", bytes, machine.shared_bytes, where());
  return machine.shared;
}

void run_grid(const GridShape& shape, void (*body)(const void* call), const void* call, size_t call_bytes) {
  alignas(256) static std::byte shared[kMaxSharedBytes];
  Scheduler& s = scheduler();
  const dim3 g = shape.grid, b = shape.block;
  const uint64_t threads = uint64_t(b.x) * b.y * b.z, blocks = uint64_t(g.x) * g.y * g.z;
  machine.kernel = shape.name;
  if (threads == 0 || threads > kMaxThreads || b.z > 64 || g.y > 65535 || g.z > 65535 ||
      shape.shared_bytes > kMaxSharedBytes)
    return report("invalid launch", "{}: grid ({},{},{}), block ({},{},{}), {} bytes of shared memory", shape.name, g.x,
                  g.y, g.z, b.x, b.y, b.z, shape.shared_bytes);
  if (machine.stacks == nullptr) {
    machine.stacks_bytes = stacks_bytes(kMaxThreads, kStackBytes);
    machine.stacks = allocate_stacks(kMaxThreads, kStackBytes);
  }
  runs_grid = true;
  s.body = body, s.num_threads = int(threads);
  machine.block_dim = b, machine.grid_dim = g;
  machine.shared = shared, machine.shared_bytes = shape.shared_bytes;
  machine.call = call, machine.call_bytes = call_bytes;
  machine.kernel_first_epoch = machine.epoch + 1;
  counters().launches += 1, counters().blocks += int64_t(blocks), counters().threads += int64_t(blocks * threads);

  std::vector<uint32_t> order(blocks);
  std::iota(order.begin(), order.end(), 0u);
  if (s.schedule == Schedule::descending) std::reverse(order.begin(), order.end());
  if (s.schedule == Schedule::random)
    for (uint32_t i = uint32_t(blocks); i-- > 1;) std::swap(order[i], order[s.below(i + 1)]);
  for (uint32_t block : order)
    if (!run_block(g, block)) break;
  machine.current = nullptr;
  runs_grid = false;
}

}  // namespace ddp::sim
