// Memory is planned, not discovered. A step takes its activations from an arena whose offsets come from a dry run of
// the same code: recording, an Arena notes size, birth and death of each tensor; placed, it hands out the planned
// offsets and checks that the step asks for the same tensors in the same order. Only the compute stream touches arena
// memory, so freeing in host order is safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/device/device.h"

namespace ddp {

// The sequences of work that take memory from the arena. Each starts with an empty arena and ends with one.
enum class Program : uint8_t { train, evaluate, generate };
inline constexpr int kNumPrograms = 3;
const char* program_name(Program program);

struct ArenaBlock {
  std::string name;
  int64_t bytes = 0;             // rounded up to 256
  int64_t birth = 0, death = 0;  // event numbers: alive in [birth, death)
  int64_t offset = 0;
};

struct ArenaPlan {
  std::vector<ArenaBlock> programs[kNumPrograms];
  int64_t arena_bytes = 0;  // the largest program
  int64_t live_bytes = 0;   // the bound: the largest sum of tensors alive at once
};

// Gives every block an offset so that blocks alive at the same time do not overlap; returns the bytes needed. Tries the
// greedy orders that work best on step-shaped lifetimes and keeps the smallest result (offline dynamic storage
// allocation).
int64_t place_blocks(std::vector<ArenaBlock>& blocks);
int64_t live_bound(const std::vector<ArenaBlock>& blocks);

class Arena;

// A tensor of the arena, returned to it at the end of its scope or by release(). Move-only.
class ArenaTensor {
 public:
  ArenaTensor() = default;
  ArenaTensor(ArenaTensor&& other) noexcept { *this = std::move(other); }
  ArenaTensor& operator=(ArenaTensor&& other) noexcept;
  ~ArenaTensor() { release(); }
  void release();
  const TensorView& view() const { return view_; }
  operator const TensorView&() const { return view_; }

 private:
  friend class Arena;
  Arena* arena_ = nullptr;
  int64_t block_ = 0;
  TensorView view_;
};

class Arena {
 public:
  Arena() = default;  // recording
  Arena(const ArenaPlan& plan, std::byte* memory) : plan_(plan), memory_(memory) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  void begin(Program program);
  void end();  // every tensor must have been returned
  ArenaTensor take(const Shape& shape, const char* name, DType dtype = DType::f32);

  // The plan of what was recorded.
  ArenaPlan plan() const;

 private:
  friend class ArenaTensor;
  void give_back(int64_t block);

  ArenaPlan plan_;
  std::byte* memory_ = nullptr;                // nullptr: recording
  std::vector<ArenaBlock>* blocks_ = nullptr;  // of the current program
  int64_t next_block_ = 0, clock_ = 0, num_live_ = 0;
  bool recording_now_ = false;
};

}  // namespace ddp
