#include "runtime/device/arena.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>

using namespace ddp;

namespace {

bool overlap(const ArenaBlock& a, const ArenaBlock& b) {
  const bool in_time = a.birth < b.death && b.birth < a.death;
  const bool in_space = a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
  return in_time && in_space;
}

void check_placement(const std::vector<ArenaBlock>& blocks, int64_t bytes) {
  for (size_t i = 0; i < blocks.size(); ++i) {
    REQUIRE(blocks[i].offset >= 0);
    REQUIRE(blocks[i].offset + blocks[i].bytes <= bytes);
    for (size_t j = 0; j < i; ++j) REQUIRE_FALSE(overlap(blocks[i], blocks[j]));
  }
}

// A forward that keeps, a backward that returns: the shape of a training step.
void step(Arena& arena, int layers) {
  arena.begin(Program::train);
  std::vector<ArenaTensor> kept;
  for (int l = 0; l < layers; ++l) {
    kept.push_back(arena.take({100 + l}, "saved"));
    const ArenaTensor scratch = arena.take({1000}, "scratch");
  }
  while (!kept.empty()) {
    const ArenaTensor gradient = arena.take({500}, "gradient");
    kept.pop_back();
  }
  arena.end();
}

}  // namespace

TEST_CASE("blocks alive at the same time never overlap, for random lifetimes") {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::vector<ArenaBlock> blocks(1 + random() % 60);
    for (ArenaBlock& b : blocks) {
      b.bytes = 256 * int64_t(1 + random() % 40);
      b.birth = int64_t(random() % 100);
      b.death = b.birth + 1 + int64_t(random() % 30);
    }
    const int64_t bytes = place_blocks(blocks);
    check_placement(blocks, bytes);
    REQUIRE(bytes >= live_bound(blocks));
  }
}

TEST_CASE("a step-shaped program is placed at its live bound") {
  Arena recording;
  step(recording, 12);
  const ArenaPlan plan = recording.plan();
  check_placement(plan.programs[int(Program::train)], plan.arena_bytes);
  REQUIRE(double(plan.arena_bytes) <= 1.02 * double(plan.live_bytes));
}

TEST_CASE("a placed arena hands out the planned memory, again and again") {
  Arena recording;
  step(recording, 3);
  const ArenaPlan plan = recording.plan();
  std::vector<std::byte> memory(size_t(plan.arena_bytes));
  Arena arena(plan, memory.data());
  for (int i = 0; i < 3; ++i) step(arena, 3);
  arena.begin(Program::train);
  const ArenaTensor first = arena.take({100}, "saved");
  REQUIRE(static_cast<std::byte*>(first.view().data) == memory.data() + plan.programs[0][0].offset);
}

TEST_CASE("a step that differs from the plan is reported") {
  Arena recording;
  step(recording, 3);
  const ArenaPlan plan = recording.plan();
  std::vector<std::byte> memory(size_t(plan.arena_bytes));
  Arena arena(plan, memory.data());
  REQUIRE_THROWS_AS(step(arena, 4), Bug);
  Arena fewer(plan, memory.data());
  REQUIRE_THROWS_AS(step(fewer, 2), Bug);
  Arena other(plan, memory.data());
  REQUIRE_THROWS_AS(other.begin(Program::evaluate), Bug);
}

TEST_CASE("a tensor kept past the end of the program is reported") {
  Arena arena;
  arena.begin(Program::train);
  const ArenaTensor kept = arena.take({1}, "kept");
  REQUIRE_THROWS_AS(arena.end(), Bug);
}
