// The computed permutation: a bijection for every size, another one each epoch, and no pattern that a shuffle would not
// have.
#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "runtime/data/sampler.h"

using namespace ddp;

namespace {

std::vector<int64_t> epoch_order(uint64_t seed, uint64_t epoch, int64_t n) {
  std::vector<int64_t> order;
  for (int64_t p = 0; p < n; ++p) order.push_back(sample_index(seed, epoch, p, n));
  return order;
}

}  // namespace

TEST_CASE("an epoch visits every sample exactly once") {
  for (const int64_t n : {1, 2, 3, 4, 5, 7, 8, 33, 255, 256, 257, 1000, 65536, 65537}) {
    for (uint64_t epoch = 0; epoch < 2; ++epoch) {
      INFO("n " << n << " epoch " << epoch);
      std::vector<int> visits(size_t(n), 0);
      for (const int64_t s : epoch_order(1, epoch, n)) {
        REQUIRE((s >= 0 && s < n));
        ++visits[size_t(s)];
      }
      CHECK(visits == std::vector<int>(size_t(n), 1));
    }
  }
}

TEST_CASE("order depends on the seed and on the epoch, and on all their bits") {
  const auto base = epoch_order(1, 0, 1000);
  CHECK(epoch_order(1, 0, 1000) == base);
  for (const uint64_t other : {uint64_t{1}, uint64_t{1} << 31, uint64_t{1} << 32, uint64_t{1} << 63}) {
    CHECK(epoch_order(1 ^ other, 0, 1000) != base);
    CHECK(epoch_order(1, other, 1000) != base);
  }
}

TEST_CASE("the order is fixed for all time: a resume by a later build sees the same samples") {
  CHECK(epoch_order(1, 0, 8) == std::vector<int64_t>{5, 0, 2, 7, 4, 1, 6, 3});
  CHECK(sample_index(7, 3, 123'456, 1'000'003) == 752'147);
}

TEST_CASE("each sample is equally likely at each position") {
  // n x n counts over many epochs; chi-square with (n-1)^2 degrees of freedom, mean (n-1)^2, deviation sqrt(2) (n-1).
  for (const int64_t n : {5, 13, 64}) {
    const int64_t epochs = 400 * n;
    std::vector<int64_t> count(size_t(n * n));
    for (int64_t e = 0; e < epochs; ++e)
      for (int64_t p = 0; p < n; ++p) ++count[size_t(p * n + sample_index(9, uint64_t(e), p, n))];
    double chi2 = 0;
    for (const int64_t c : count) chi2 += std::pow(double(c) - 400.0, 2) / 400.0;
    const double degrees = double((n - 1) * (n - 1));
    INFO("n " << n << " chi2 " << chi2);
    CHECK(std::abs(chi2 - degrees) < 5 * std::sqrt(2 * degrees));
  }
}

TEST_CASE("neighbours in the stream are not neighbours in the file") {
  const int64_t n = 10'000;
  const auto order = epoch_order(3, 0, n);
  double correlation = 0;
  int64_t n_adjacent = 0, n_fixed = 0;
  for (size_t p = 0; p + 1 < order.size(); ++p) {
    correlation += (double(order[p]) - n / 2.0) * (double(order[p + 1]) - n / 2.0);
    n_adjacent += std::abs(order[p] - order[p + 1]) == 1;
    n_fixed += order[p] == int64_t(p);
  }
  correlation /= double(n) * double(n) * double(n) / 12;
  CHECK(std::abs(correlation) < 0.05);  // deviation of a true shuffle: 0.01
  CHECK(n_adjacent < 12);               // expected: 2
  CHECK(n_fixed < 8);                   // expected: 1
}
