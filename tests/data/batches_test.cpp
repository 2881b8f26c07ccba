// Training and evaluation batches: the same samples for every number of ranks, workers and micro-batches, from any step
// on.
#include <algorithm>
#include <catch2/catch.hpp>
#include <map>

#include "runtime/data/eval_batches.h"
#include "runtime/data/prefetcher.h"
#include "runtime/data/sampler.h"
#include "runtime/data/token_source.h"
#include "tests/data/token_bytes.h"
#include "tests/support/failure.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Contains;

namespace {

constexpr int64_t kContext = 4;

// Tells which stream position each sample came from, and fails where it is told to.
class RecordingSource final : public DataSource {
 public:
  explicit RecordingSource(int64_t num_samples = 1000, uint64_t fail_at = UINT64_MAX)
      : num_samples_(num_samples), fail_at_(fail_at) {}
  int64_t num_samples() const override { return num_samples_; }
  void fill(HostBatch& batch, uint64_t first) const override {
    for (size_t i = 0; i < batch.sample_ids.size(); ++i) {
      if (first + i == fail_at_) throw Error(ExitCode::data, "bad sample");
      batch.tokens[i * kContext] = int32_t(first + i);
    }
  }

 private:
  int64_t num_samples_;
  uint64_t fail_at_;
};

PrefetchOptions options(int64_t micro_batch, int64_t global_batch, int rank = 0, int num_ranks = 1) {
  return {.micro_batch = micro_batch,
          .global_batch = global_batch,
          .context = kContext,
          .rank = rank,
          .num_ranks = num_ranks,
          .wait = {.timeout_ms = 60'000}};
}

// Stream position -> sample id of what one rank gets in `n_steps` steps, in order.
std::vector<std::pair<int32_t, int32_t>> rank_stream(const PrefetchOptions& o, int64_t n_steps) {
  const RecordingSource source;
  Prefetcher prefetcher(source, o);
  std::vector<std::pair<int32_t, int32_t>> out;
  for (int64_t i = 0; i < n_steps * o.global_batch / (o.micro_batch * o.num_ranks); ++i) {
    const Prefetcher::Next next = prefetcher.next();
    CHECK(next.wait_ms >= 0);
    for (size_t j = 0; j < next.batch.sample_ids.size(); ++j)
      out.emplace_back(next.batch.tokens[j * kContext], next.batch.sample_ids[j]);
  }
  return out;
}

}  // namespace

TEST_CASE("a rank gets its contiguous share of each global batch, cut into micro-batches in order") {
  using Stream = std::vector<std::pair<int32_t, int32_t>>;
  CHECK(rank_stream(options(2, 8, 1, 2), 2) ==
        Stream{{4, 4}, {5, 5}, {6, 6}, {7, 7}, {12, 4}, {13, 5}, {14, 6}, {15, 7}});
  CHECK(rank_stream(options(3, 9, 2, 3), 2) == Stream{{6, 6}, {7, 7}, {8, 8}, {15, 6}, {16, 7}, {17, 8}});
}

TEST_CASE("a step has the same samples and ids for every number of ranks, workers and micro-batches") {
  constexpr int64_t kSteps = 3, kGlobal = 48;
  for (const int ranks : {1, 2, 3, 4})
    for (const int64_t micro : {1, 2, 4})
      for (const int64_t workers : {1, 2, 5}) {
        INFO(ranks << " ranks, micro-batch " << micro << ", " << workers << " workers");
        std::vector<std::pair<int32_t, int32_t>> all;
        for (int r = 0; r < ranks; ++r) {
          PrefetchOptions o = options(micro, kGlobal, r, ranks);
          o.num_workers = workers;
          const auto part = rank_stream(o, kSteps);
          all.insert(all.end(), part.begin(), part.end());
        }
        std::sort(all.begin(), all.end());
        REQUIRE(int64_t(all.size()) == kSteps * kGlobal);
        for (size_t i = 0; i < all.size(); ++i)
          CHECK(all[i] == std::pair<int32_t, int32_t>(int32_t(i), int32_t(i % kGlobal)));
      }
}

TEST_CASE("a stream that starts at step t is the tail of the stream from step 1") {
  const auto whole = rank_stream(options(2, 8, 1, 2), 10);
  PrefetchOptions o = options(2, 8, 1, 2);
  o.first_step = 8;
  const auto tail = rank_stream(o, 3);
  CHECK(std::equal(tail.begin(), tail.end(), whole.end() - std::ptrdiff_t(tail.size())));
}

TEST_CASE("batches are reused: no more than the ring holds, and never before the caller is done") {
  const RecordingSource source;
  Prefetcher prefetcher(source, options(1, 4));
  std::map<const HostBatch*, int> uses;
  for (int i = 0; i < 300; ++i) {
    const HostBatch& batch = prefetcher.next().batch;
    CHECK(batch.tokens[0] == i);
    ++uses[&batch];
  }
  CHECK(uses.size() == 3);
}

TEST_CASE("a worker's error comes out of next() for the batch that met it, and not before") {
  const RecordingSource source(1000, 5);
  PrefetchOptions o = options(2, 2);
  o.num_workers = 2;
  Prefetcher prefetcher(source, o);
  CHECK(prefetcher.next().batch.tokens[0] == 0);
  CHECK(prefetcher.next().batch.tokens[0] == 2);
  const Failure f = failure_of([&] { prefetcher.next(); });
  CHECK(f.code == 65);
  CHECK(f.message == "bad sample");
  CHECK(prefetcher.next().batch.tokens[0] == 6);
}

TEST_CASE("a prefetcher stops whether its batches were taken or not") {
  const RecordingSource source;
  for (int taken = 0; taken < 20; ++taken) {
    PrefetchOptions o = options(1, 4);
    o.num_workers = 3;
    Prefetcher prefetcher(source, o);
    for (int i = 0; i < taken; ++i) prefetcher.next();
  }
}

TEST_CASE("next() leaves its wait when the run is aborted, and after its deadline") {
  // A source that never answers until it is let go.
  struct StuckSource final : DataSource {
    FutexWord let_go{0};
    int64_t num_samples() const override { return 10; }
    void fill(HostBatch&, uint64_t) const override { wait_while_equal(let_go, 0, WaitPolicy{}, "test"); }
  } source;
  FutexWord abort_word{1};
  PrefetchOptions o = options(1, 1);
  o.wait = {.abort_word = &abort_word};
  {
    Prefetcher prefetcher(source, o);
    CHECK_THROWS_AS(prefetcher.next(), Aborted);
    source.let_go = 1;
    wake_all(source.let_go);
  }
  source.let_go = 0;
  o.wait = {.timeout_ms = 10};
  Prefetcher prefetcher(source, o);
  CHECK(failure_of([&] { prefetcher.next(); }).code == 124);
  source.let_go = 1;
  wake_all(source.let_go);
}

TEST_CASE("training reads the file in the sampler's order, epoch after epoch") {
  const TemporaryFolder folder;
  const TokenSource source(
      TokenFile(write_file(folder.path / "t", as_bytes(counting<uint8_t>(41))), "bytes", kContext, 256), 7);
  CHECK(source.num_samples() == 10);
  Prefetcher prefetcher(source, options(4, 4));
  for (uint64_t position = 0; position < 40; position += 4) {
    const HostBatch& batch = prefetcher.next().batch;
    for (size_t i = 0; i < 4; ++i) {
      const int64_t sample = stream_sample(7, position + i, 10);
      for (int64_t t = 0; t < kContext; ++t) {
        CHECK(batch.tokens[i * kContext + size_t(t)] == sample * kContext + t);
        CHECK(batch.targets[i * kContext + size_t(t)] == sample * kContext + t + 1);
      }
    }
  }
}

TEST_CASE("an evaluation reads the first samples of the file, each once over all ranks") {
  const TemporaryFolder folder;
  const TokenSource source(
      TokenFile(write_file(folder.path / "t", as_bytes(counting<uint8_t>(81))), "bytes", kContext, 256), {});
  for (const int ranks : {1, 2, 3, 4, 9}) {
    INFO(ranks << " ranks");
    std::vector<int32_t> samples;
    for (int r = 0; r < ranks; ++r) {
      EvalBatches batches(source, {.micro_batch = 3, .context = kContext, .batches = 5, .rank = r, .num_ranks = ranks});
      CHECK(batches.total() == 5);
      CHECK(batches.end() - batches.begin() <= 5 / ranks + 1);
      for (int64_t b = batches.begin(); b < batches.end(); ++b) {
        const HostBatch& batch = batches.load(b);
        for (size_t i = 0; i < 3; ++i) {
          samples.push_back(batch.tokens[i * kContext] / int32_t(kContext));
          CHECK(batch.sample_ids[i] == samples.back());
        }
      }
    }
    CHECK(samples == counting<int32_t>(15));
  }
}

TEST_CASE("a short held-out file gives fewer batches, and less than one is an error") {
  const RecordingSource source(7);
  CHECK(EvalBatches(source, {.micro_batch = 3, .context = kContext, .batches = 5}).total() == 2);
  const Failure f = failure_of([&] { EvalBatches(source, {.micro_batch = 8, .context = kContext, .batches = 5}); });
  CHECK(f.code == 65);
  CHECK_THAT(f.message, Contains("7 samples") && Contains("micro-batch of 8"));
}
