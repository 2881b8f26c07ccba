#include "tests/cuda_sim/emulator/shadow.h"

#include <sys/mman.h>

#include <iterator>
#include <map>
#include <memory>

#include "runtime/base/check.h"
#include "tests/cuda_sim/emulator/grid.h"
#include "tests/cuda_sim/report.h"

namespace ddp::sim {
namespace {

constexpr size_t kCellBytes = 1;  // the smallest element type of kernels

enum class Readers : uint8_t { one, lanes, warps };  // lanes: several of a warp; warps: of several

struct Access {
  uint32_t epoch, warp_epoch;  // epoch 0: never
  uint16_t thread;
};

struct Cell {
  Access write, read;
  Readers readers;              // in the epoch of `read`
  uint32_t foreign_read_epoch;  // the latest read by a block before the one of `read`
};

// Zero-filled; pages nobody touches cost nothing.
class Cells {
 public:
  explicit Cells(size_t bytes) : size_((bytes / kCellBytes + 1) * sizeof(Cell)) {
    void* memory = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    DDP_CHECK(memory != MAP_FAILED, "no memory for the shadow of {} bytes", bytes);
    cells_ = static_cast<Cell*>(memory);
  }
  ~Cells() { munmap(cells_, size_); }
  Cells(const Cells&) = delete;
  Cells& operator=(const Cells&) = delete;
  Cell& operator[](size_t i) { return cells_[i]; }

 private:
  size_t size_;
  Cell* cells_;
};

struct Allocation {
  size_t bytes;
  std::unique_ptr<Cells> cells;
};

std::map<uintptr_t, Allocation>& allocations() {
  static std::map<uintptr_t, Allocation> all;
  return all;
}

AccessHook access_hook = nullptr;

bool ordered_in_block(const Access& before, const Thread& now) {
  if (before.thread == now.linear) return true;
  return before.thread / 32 == now.linear / 32 && before.warp_epoch < now.warp->epoch;
}

enum class Space : uint8_t { shared, global };

const char* name(Space space) { return space == Space::shared ? "shared" : "global"; }

// By another block of this kernel, which has shared memory of its own.
bool foreign(Space space, uint32_t epoch) {
  return space == Space::global && epoch >= machine.kernel_first_epoch && epoch < machine.block_first_epoch;
}

bool conflicts_with_write(Space space, const Cell& c, const Thread& t) {
  if (c.write.epoch == machine.epoch) return !ordered_in_block(c.write, t);
  return foreign(space, c.write.epoch);
}

bool conflicts_with_reads(Space space, const Cell& c, const Thread& t) {
  if (foreign(space, c.foreign_read_epoch)) return true;
  if (c.read.epoch != machine.epoch) return foreign(space, c.read.epoch);
  if (c.readers == Readers::one) return !ordered_in_block(c.read, t);
  const bool same_warp = c.read.thread / 32 == t.linear / 32;
  return c.readers == Readers::warps || !same_warp || c.read.warp_epoch >= t.warp->epoch;
}

void note_read(Space space, Cell& c, const Thread& t) {
  const Access now = {machine.epoch, t.warp->epoch, uint16_t(t.linear)};
  if (c.read.epoch != now.epoch) {
    if (foreign(space, c.read.epoch)) c.foreign_read_epoch = c.read.epoch;
    c.read = now, c.readers = Readers::one;
  } else if (c.readers == Readers::warps || c.read.thread / 32 != t.linear / 32) {
    c.readers = Readers::warps;
  } else if (c.read.warp_epoch < now.warp_epoch) {
    c.read = now, c.readers = Readers::one;  // whoever conflicts with the earlier lanes conflicts with this one
  } else if (c.read.thread != now.thread) {
    c.readers = Readers::lanes;
  }
}

// Returns what the access conflicts with, nullptr: nothing.
const char* check_cell(Space space, Cell& c, const Thread& t, bool write) {
  const char* conflict = nullptr;
  if (conflicts_with_write(space, c, t)) conflict = "a write";
  if (!write) {
    note_read(space, c, t);
  } else {
    if (conflict == nullptr && conflicts_with_reads(space, c, t)) conflict = "a read";
    c.write = {machine.epoch, t.warp->epoch, uint16_t(t.linear)};
  }
  return conflict;
}

const char* verb(bool write) { return write ? "write" : "read"; }

void check_cells(Space space, Cells& cells, size_t offset, size_t bytes, bool write) {
  const char* conflict = nullptr;
  for (size_t i = offset / kCellBytes; i <= (offset + bytes - 1) / kCellBytes; ++i)
    if (const char* with = check_cell(space, cells[i], *machine.current, write)) conflict = with;
  if (conflict != nullptr)
    report(fmt::format("{} memory race", name(space)), "{} of {} bytes at offset {}, which nothing orders after {}, {}",
           verb(write), bytes, offset, conflict, where());
}

void check_shared(size_t offset, size_t bytes, bool write) {
  static Cells cells(kMaxSharedBytes);
  if (offset + bytes > machine.shared_bytes)
    return report("shared memory out of bounds", "{} of {} bytes at offset {} of {}, {}", verb(write), bytes, offset,
                  machine.shared_bytes, where());
  Cell& first = cells[offset / kCellBytes];
  if (!write && first.write.epoch < machine.block_first_epoch) {
    first.write = {machine.epoch, machine.current->warp->epoch, uint16_t(machine.current->linear)};
    report("uninitialised shared memory", "read of {} bytes at offset {}, {}", bytes, offset, where());
  }
  check_cells(Space::shared, cells, offset, bytes, write);
}

void check_device(uintptr_t address, size_t bytes, bool write) {
  const auto after = allocations().upper_bound(address);
  if (after == allocations().begin())
    return report("global memory out of bounds", "{} of {} bytes at {:#x}, {}", verb(write), bytes, address, where());
  const auto& [begin, allocation] = *std::prev(after);
  const size_t offset = address - begin;
  if (offset + bytes > allocation.bytes)
    return report("global memory out of bounds", "{} of {} bytes at offset {} of an allocation of {}, {}", verb(write),
                  bytes, offset, allocation.bytes, where());
  (write ? counters().bytes_written : counters().bytes_read) += int64_t(bytes);
  if (access_hook != nullptr) access_hook(reinterpret_cast<const void*>(address), bytes, write);
  check_cells(Space::global, *allocation.cells, offset, bytes, write);
}

bool within(uintptr_t address, const void* begin, size_t bytes) {
  return address - reinterpret_cast<uintptr_t>(begin) < bytes;
}

}  // namespace

void add_device_memory(const void* memory, size_t bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(memory);
  auto& all = allocations();
  // Host memory that tests lend may be freed and come again in other pieces.
  auto at = all.upper_bound(begin);
  if (at != all.begin() && std::prev(at)->first + std::prev(at)->second.bytes > begin) --at;
  while (at != all.end() && at->first < begin + bytes) at = all.erase(at);
  all.emplace(begin, Allocation{bytes, std::make_unique<Cells>(bytes)});
}

void remove_device_memory(const void* memory) { allocations().erase(reinterpret_cast<uintptr_t>(memory)); }

void set_access_hook(AccessHook hook) { access_hook = hook; }

void check_access(uintptr_t address, size_t bytes, bool write) {
  if (!runs_grid || machine.current == nullptr) return;
  if (within(address, machine.stacks, machine.stacks_bytes)) return;
  if (within(address, &machine, sizeof machine) || within(address, machine.call, machine.call_bytes)) return;
  if (within(address, machine.shared, kMaxSharedBytes))
    return check_shared(address - reinterpret_cast<uintptr_t>(machine.shared), bytes, write);
  check_device(address, bytes, write);
}

void report_misaligned(const void* address, size_t alignment, const char* file, int line) {
  if (!runs_grid) return;
  report("misaligned access", "{}:{}: {} is not a multiple of {}, {}", file, line, address, alignment, where());
}

}  // namespace ddp::sim
