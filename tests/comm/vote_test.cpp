// Votes on the board.
#include <array>
#include <catch2/catch.hpp>
#include <thread>
#include <vector>

#include "runtime/board/board.h"

using namespace ddp;

TEST_CASE("every rank counts the same votes against, and those of earlier votes with them") {
  constexpr int kRanks = 4, kVotes = 200;
  Board board = Board::create(kRanks);
  const WaitPolicy wait = {.timeout_ms = 60'000, .spin_pauses = 0};
  // Rank r is against in votes 50 r + 49: at most one rank a vote.
  std::array<std::vector<int>, kRanks> counted;
  std::vector<std::thread> ranks;
  for (int r = 0; r < kRanks; ++r)
    ranks.emplace_back([&, r] {
      for (int vote = 0; vote < kVotes; ++vote)
        counted[size_t(r)].push_back(board->nccl_vote.count_against(vote == 50 * r + 49, kRanks, wait, "a vote"));
    });
  for (std::thread& rank : ranks) rank.join();
  for (const std::vector<int>& counts : counted)
    for (int vote = 0; vote < kVotes; ++vote) CHECK(counts[size_t(vote)] == (vote + 1) / 50);
}
