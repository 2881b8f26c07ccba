#include "tests/cuda_sim/api/memory.h"

#include <sys/mman.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "tests/cuda_sim/api/gpu.h"
#include "tests/cuda_sim/bridge.h"
#include "tests/cuda_sim/report.h"

namespace ddp::sim {
namespace {

constexpr size_t kReserved = size_t(4) << 30, kUnit = 4, kGuard = 256;
constexpr unsigned char kGuardByte = 0xA5, kFreshByte = 0xFF;

// Who accessed a unit last: stream << 26 | number of the work in its stream; 0: nobody.
using Epoch = uint32_t;
constexpr int kNumberBits = 26;
static_assert(uint64_t{kMaxStreams} << kNumberBits == uint64_t{1} << 32);
constexpr uint32_t kNumberMask = (1u << kNumberBits) - 1;
struct Cell {
  Epoch write;
  Epoch reads[2];  // of different streams
};

template <class T>
T* reserve(size_t count) {
  void* memory =
      ::mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) report("simulator", "cannot reserve memory");
  return static_cast<T*>(memory);
}

struct Memory {
  std::byte* base = reserve<std::byte>(kReserved);
  Cell* shadow = reserve<Cell>(kReserved / kUnit);
  size_t bump = 0, used = 0;
  std::mutex mutex;
  std::map<const std::byte*, size_t> blocks, pinned;
};

Memory& memory() {
  static Memory* const the_memory = new Memory;
  return *the_memory;
}

// The allocation that holds [address, + bytes), or end.
auto block_of(const std::map<const std::byte*, size_t>& blocks, const void* address, size_t bytes) {
  const auto* at = static_cast<const std::byte*>(address);
  auto block = blocks.upper_bound(at);
  if (block == blocks.begin()) return blocks.end();
  --block;
  return at + bytes <= block->first + block->second ? block : blocks.end();
}

bool is_ordered(Epoch other) { return other == 0 || gpu().came_before(int(other >> kNumberBits), other & kNumberMask); }

void report_unordered(Epoch other, const void* address, bool write, bool other_writes) {
  const Work& work = gpu().running();
  const int stream = int(other >> kNumberBits);
  report("unordered access", "{} at +{} by '{}' (stream {}) and {} by '{}' (stream {}): no event orders them",
         write ? "write" : "read", device_offset(address), work.name, work.stream, other_writes ? "write" : "read",
         gpu().name_of(stream, other & kNumberMask), stream);
}

// False after a report.
bool check_cell(Cell& cell, const void* address, Epoch mine, bool write) {
  if (!is_ordered(cell.write)) return report_unordered(cell.write, address, write, true), false;
  if (write) {
    for (const Epoch read : cell.reads)
      if (!is_ordered(read)) return report_unordered(read, address, write, false), false;
    cell = {mine, {0, 0}};
  } else if (cell.reads[0] != mine) {
    if (!is_ordered(cell.reads[0])) cell.reads[1] = cell.reads[0];
    cell.reads[0] = mine;
  }
  return true;
}

size_t rounded(size_t bytes) { return (bytes + kGuard - 1) / kGuard * kGuard; }

}  // namespace

size_t device_bytes_total() {
  const char* text = std::getenv("DDP_SIM_MEMORY");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : kReserved;
}
size_t device_bytes_used() {
  const std::lock_guard lock(memory().mutex);
  return memory().used;
}

bool is_device_memory(const void* address) {
  return size_t(static_cast<const std::byte*>(address) - memory().base) < kReserved;
}
ptrdiff_t device_offset(const void* address) { return static_cast<const std::byte*>(address) - memory().base; }

void* allocate_device(size_t bytes) {
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  const size_t taken = kGuard + rounded(bytes) + kGuard;
  if (m.used + bytes > device_bytes_total() || m.bump + taken > kReserved) return nullptr;
  std::byte* begin = m.base + m.bump + kGuard;
  std::memset(begin - kGuard, kGuardByte, taken);
  std::memset(begin, kFreshByte, bytes);
  m.bump += taken;
  m.used += bytes;
  m.blocks.emplace(begin, bytes);
  add_device_memory(begin, bytes);
  return begin;
}

bool free_device(void* address) {
  check_guards("cudaFree");
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  const auto block = m.blocks.find(static_cast<const std::byte*>(address));
  if (block == m.blocks.end()) return false;
  remove_device_memory(address);
  m.used -= block->second;
  m.blocks.erase(block);
  return true;
}

void* allocate_pinned(size_t bytes) {
  void* address = std::aligned_alloc(kGuard, rounded(bytes));
  const std::lock_guard lock(memory().mutex);
  if (address != nullptr) memory().pinned.emplace(static_cast<const std::byte*>(address), bytes);
  return address;
}

bool free_pinned(void* address) {
  const std::lock_guard lock(memory().mutex);
  if (memory().pinned.erase(static_cast<const std::byte*>(address)) == 0) return false;
  std::free(address);
  return true;
}

bool is_pinned(const void* address) {
  const std::lock_guard lock(memory().mutex);
  return block_of(memory().pinned, address, 1) != memory().pinned.end();
}

void note_access(const void* address, size_t bytes, bool write) {
  if (bytes == 0 || !is_device_memory(address)) return;
  Memory& m = memory();
  const Work& work = gpu().running();
  {
    const std::lock_guard lock(m.mutex);
    if (block_of(m.blocks, address, bytes) == m.blocks.end())
      return report("out of bounds", "{} of {} bytes at +{} by '{}' is outside of any allocation",
                    write ? "write" : "read", bytes, device_offset(address), work.name);
  }
  const Epoch mine = Epoch(work.stream) << kNumberBits | (work.number & kNumberMask);
  const size_t first = size_t(device_offset(address)) / kUnit;
  const size_t end = (size_t(device_offset(address)) + bytes + kUnit - 1) / kUnit;
  for (size_t unit = first; unit < end; ++unit)
    if (!check_cell(m.shadow[unit], m.base + unit * kUnit, mine, write)) return;
}

void check_guards(const char* name) {
  static constexpr auto kGuardZone = [] {
    std::array<unsigned char, 2 * kGuard> zone{};
    zone.fill(kGuardByte);
    return zone;
  }();
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  for (const auto& [begin, bytes] : m.blocks)
    if (std::memcmp(begin - kGuard, kGuardZone.data(), kGuard) != 0 ||
        std::memcmp(begin + bytes, kGuardZone.data(), rounded(bytes) - bytes + kGuard) != 0)
      report("out of bounds", "'{}' wrote beside an allocation of {} bytes at +{}", name, bytes, device_offset(begin));
}

}  // namespace ddp::sim
