#include "runtime/device/arena.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "runtime/base/rounding.h"

namespace ddp {
namespace {

constexpr int64_t kAlign = 256;
// Recording hands out addresses that fault when touched, as the meta device does.
constexpr uintptr_t kFakeBase = uintptr_t(3) << 56;

// Places blocks one by one in the given order, each at the lowest gap among the placed blocks it overlaps in time.
int64_t place_in_order(std::vector<ArenaBlock>& blocks, const std::vector<size_t>& order) {
  int64_t top = 0;
  std::vector<size_t> placed;  // sorted by offset
  for (size_t index : order) {
    ArenaBlock& block = blocks[index];
    int64_t offset = 0;
    for (size_t other_index : placed) {
      const ArenaBlock& other = blocks[other_index];
      if (other.death <= block.birth || block.death <= other.birth) continue;
      if (other.offset >= offset + block.bytes) break;
      offset = std::max(offset, other.offset + other.bytes);
    }
    block.offset = offset;
    top = std::max(top, offset + block.bytes);
    const auto at = std::upper_bound(placed.begin(), placed.end(), offset,
                                     [&](int64_t value, size_t i) { return value < blocks[i].offset; });
    placed.insert(at, index);
  }
  return top;
}

}  // namespace

const char* program_name(Program program) {
  constexpr const char* kNames[] = {"train", "evaluate", "generate"};
  return kNames[int(program)];
}

int64_t live_bound(const std::vector<ArenaBlock>& blocks) {
  std::vector<std::pair<int64_t, int64_t>> changes;  // (time, bytes); a death comes before a birth of the same time
  for (const ArenaBlock& b : blocks) {
    changes.emplace_back(b.birth, b.bytes);
    changes.emplace_back(b.death, -b.bytes);
  }
  std::sort(changes.begin(), changes.end());
  int64_t live = 0, most = 0;
  for (const auto& [time, bytes] : changes) most = std::max(most, live += bytes);
  return most;
}

int64_t place_blocks(std::vector<ArenaBlock>& blocks) {
  const auto lifetime = [&](size_t i) { return blocks[i].death - blocks[i].birth; };
  const auto by_size = [&](size_t a, size_t b) {
    return std::pair(-blocks[a].bytes, blocks[a].birth) < std::pair(-blocks[b].bytes, blocks[b].birth);
  };
  const auto by_lifetime = [&](size_t a, size_t b) {
    return std::pair(-lifetime(a), blocks[a].birth) < std::pair(-lifetime(b), blocks[b].birth);
  };
  const auto by_birth = [&](size_t a, size_t b) { return blocks[a].birth < blocks[b].birth; };

  std::vector<size_t> order(blocks.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::vector<ArenaBlock> best;
  int64_t best_bytes = -1;
  const auto try_order = [&](auto less) {
    std::stable_sort(order.begin(), order.end(), less);
    const int64_t bytes = place_in_order(blocks, order);
    if (best_bytes < 0 || bytes < best_bytes) {
      best_bytes = bytes;
      best = blocks;
    }
  };
  try_order(by_lifetime);
  try_order(by_size);
  try_order(by_birth);
  blocks = std::move(best);
  return std::max<int64_t>(best_bytes, 0);
}

ArenaTensor& ArenaTensor::operator=(ArenaTensor&& other) noexcept {
  if (this != &other) {
    release();
    arena_ = std::exchange(other.arena_, nullptr);
    block_ = other.block_;
    view_ = std::exchange(other.view_, {});
  }
  return *this;
}

void ArenaTensor::release() {
  if (arena_ != nullptr) std::exchange(arena_, nullptr)->give_back(block_);
  view_ = {};
}

void Arena::begin(Program program) {
  DDP_CHECK(blocks_ == nullptr, "the arena is in use");
  blocks_ = &plan_.programs[int(program)];
  recording_now_ = memory_ == nullptr && blocks_->empty();
  DDP_CHECK(recording_now_ || !blocks_->empty(), "program {} was not planned", program_name(program));
  next_block_ = clock_ = 0;
}

void Arena::end() {
  DDP_CHECK(num_live_ == 0, "{} tensors were not returned to the arena", num_live_);
  DDP_CHECK(next_block_ == int64_t(blocks_->size()), "the step took {} tensors, planned were {}", next_block_,
            blocks_->size());
  blocks_ = nullptr;
}

ArenaTensor Arena::take(const Shape& shape, const char* name, DType dtype) {
  DDP_CHECK(blocks_ != nullptr, "arena tensor {} outside a program", name);
  ArenaTensor tensor;
  tensor.view_ = TensorView(nullptr, dtype, shape);
  const int64_t bytes = round_up(std::max<int64_t>(tensor.view_.bytes(), 1), kAlign);
  if (recording_now_) {
    blocks_->push_back({.name = name, .bytes = bytes, .birth = clock_, .death = -1, .offset = 0});
  } else {
    DDP_CHECK(next_block_ < int64_t(blocks_->size()) && (*blocks_)[size_t(next_block_)].bytes == bytes,
              "arena tensor {} {} differs from the plan", name, shape.text());
  }
  const ArenaBlock& block = (*blocks_)[size_t(next_block_)];
  tensor.view_.data = memory_ != nullptr ? static_cast<void*>(memory_ + block.offset)
                                         : reinterpret_cast<void*>(kFakeBase + uintptr_t(next_block_) * kAlign);
  tensor.arena_ = this;
  tensor.block_ = next_block_++;
  ++clock_;
  ++num_live_;
  return tensor;
}

void Arena::give_back(int64_t block) {
  if (recording_now_) (*blocks_)[size_t(block)].death = clock_;
  ++clock_;
  --num_live_;
}

ArenaPlan Arena::plan() const {
  ArenaPlan plan = plan_;
  for (std::vector<ArenaBlock>& blocks : plan.programs) {
    plan.arena_bytes = std::max(plan.arena_bytes, place_blocks(blocks));
    plan.live_bytes = std::max(plan.live_bytes, live_bound(blocks));
  }
  return plan;
}

}  // namespace ddp
