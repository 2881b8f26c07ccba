// What clang's -fsanitize=thread,alignment calls from instrumented kernels, in place of the sanitizers' own runtimes.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tests/cuda_sim/emulator/shadow.h"

using ddp::sim::check_access;

namespace {
uintptr_t number(const void* p) { return reinterpret_cast<uintptr_t>(p); }
void check_aligned_access(const void* p, size_t bytes, bool write) {
  if (number(p) % bytes != 0) ddp::sim::report_misaligned(p, bytes, "kernel", 0);
  check_access(number(p), bytes, write);
}
}  // namespace

// What clang does not call unaligned it takes for aligned, by its type.
#define DDP_ACCESS_HOOKS(BYTES)                                                         \
  void __tsan_read##BYTES(void* p) { check_aligned_access(p, BYTES, false); }           \
  void __tsan_write##BYTES(void* p) { check_aligned_access(p, BYTES, true); }           \
  void __tsan_unaligned_read##BYTES(void* p) { check_access(number(p), BYTES, false); } \
  void __tsan_unaligned_write##BYTES(void* p) { check_access(number(p), BYTES, true); }

extern "C" {

DDP_ACCESS_HOOKS(1)
DDP_ACCESS_HOOKS(2)
DDP_ACCESS_HOOKS(4)
DDP_ACCESS_HOOKS(8)
DDP_ACCESS_HOOKS(16)
void __tsan_read_range(void* p, size_t bytes) { check_access(number(p), bytes, false); }
void __tsan_write_range(void* p, size_t bytes) { check_access(number(p), bytes, true); }
void __tsan_vptr_read(void**) {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

void* ddp_sim_memcpy(void* to, const void* from, size_t bytes) {
  if (bytes > 0) check_access(number(from), bytes, false), check_access(number(to), bytes, true);
  return std::memcpy(to, from, bytes);
}
void* ddp_sim_memset(void* to, int value, size_t bytes) {
  if (bytes > 0) check_access(number(to), bytes, true);
  return std::memset(to, value, bytes);
}

// The layouts of the undefined behaviour sanitizer's interface.
struct MisalignedSite {
  const char* file;
  uint32_t line, column;
  const void* type;
  uint8_t log2_alignment, kind;
};
void __ubsan_handle_type_mismatch_v1(const MisalignedSite* site, const void* address) {
  ddp::sim::report_misaligned(address, size_t(1) << site->log2_alignment, site->file, int(site->line));
}

}  // extern "C"
