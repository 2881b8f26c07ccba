// The simulated GPU's memory. Fresh memory is NaN; guard zones around each allocation are checked after every kernel;
// and a shadow keeps for each 4 bytes who wrote and who read last, so that an access which no event orders after
// another one is reported, with the names of both.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ddp::sim {

class Gpu;

inline constexpr int kMaxStreams = 64;  // at a time: what the shadow has room for

void* allocate_device(size_t bytes);  // nullptr: none left
bool free_device(void* memory);       // false: not an allocation
size_t device_bytes_total();          // DDP_SIM_MEMORY, else 4 GiB
size_t device_bytes_used();
bool is_device_memory(const void* address);
// Distance from the first allocation: the same on every rank that allocates alike.
ptrdiff_t device_offset(const void* address);

void* allocate_pinned(size_t bytes);
bool free_pinned(void* memory);
bool is_pinned(const void* address);

// Of the running work. Host memory is ignored.
void note_access(const void* address, size_t bytes, bool write);
// After the work `name`.
void check_guards(const char* name);

}  // namespace ddp::sim
