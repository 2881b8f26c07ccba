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

// The sum of a sample's tokens, as an input that is made from another.
void add_tokens(const HostBatch& batch, std::byte* out) {
  const std::span<const int32_t> tokens = batch.values<int32_t>("tokens");
  auto* sums = reinterpret_cast<double*>(out);
  for (size_t i = 0; i < tokens.size(); ++i)
    sums[i / kContext] = (i % kContext == 0 ? 0 : sums[i / kContext]) + tokens[i];
}

BatchLayout layout_of(int64_t micro_batch) {
  return {{{.name = "tokens", .sample = {kContext}, .limit = 256},
           {.name = "targets", .sample = {kContext}, .limit = 256, .is_target = true},
           {.name = "sum", .dtype = DType::f64, .sample = {}, .derive = add_tokens}},
          micro_batch};
}

// Tells which stream position each sample came from, and fails where it is told to. In file order, and endless, so that
// a sample is its position.
class RecordingSource final : public DataSource {
 public:
  explicit RecordingSource(int64_t num_samples = 1'000'000, int64_t fail_at = -1)
      : DataSource(Split::valid, 0), num_samples_(num_samples), fail_at_(fail_at) {}
  int64_t num_samples() const override { return num_samples_; }
  std::string fingerprint() const override { return {}; }

 private:
  void fill_sample(HostBatch& batch, int64_t i, const Draw& draw) const override {
    if (draw.sample == fail_at_) throw Error(ExitCode::data, "bad sample");
    for (const char* name : {"tokens", "targets"})
      std::ranges::fill(batch.sample<int32_t>(name, i), int32_t(draw.sample));
  }

  int64_t num_samples_, fail_at_;
};

PrefetchOptions options(int64_t global_batch, int rank = 0, int num_ranks = 1) {
  return {.global_batch = global_batch, .rank = rank, .num_ranks = num_ranks, .wait = {.timeout_ms = 60'000}};
}

int32_t first_token(const HostBatch& batch, int64_t sample = 0) {
  return batch.values<int32_t>("tokens")[size_t(sample * kContext)];
}

// Stream position -> sample id of what one rank gets in `n_steps` steps, in order.
std::vector<std::pair<int32_t, int32_t>> rank_stream(int64_t micro_batch, const PrefetchOptions& o, int64_t n_steps) {
  const RecordingSource source;
  const BatchLayout layout = layout_of(micro_batch);
  Prefetcher prefetcher(source, layout, o);
  std::vector<std::pair<int32_t, int32_t>> out;
  for (int64_t i = 0; i < n_steps * o.global_batch / (micro_batch * o.num_ranks); ++i) {
    const Prefetcher::Next next = prefetcher.next();
    CHECK(next.wait_ms >= 0);
    for (int64_t j = 0; j < micro_batch; ++j) {
      out.emplace_back(first_token(next.batch, j), next.batch.sample_ids()[size_t(j)]);
      CHECK(next.batch.values<double>("sum")[size_t(j)] == double(kContext) * first_token(next.batch, j));
    }
  }
  return out;
}

}  // namespace

TEST_CASE("a rank gets its contiguous share of each global batch, cut into micro-batches in order") {
  using Stream = std::vector<std::pair<int32_t, int32_t>>;
  CHECK(rank_stream(2, options(8, 1, 2), 2) ==
        Stream{{4, 4}, {5, 5}, {6, 6}, {7, 7}, {12, 4}, {13, 5}, {14, 6}, {15, 7}});
  CHECK(rank_stream(3, options(9, 2, 3), 2) == Stream{{6, 6}, {7, 7}, {8, 8}, {15, 6}, {16, 7}, {17, 8}});
}

TEST_CASE("a step has the same samples and ids for every number of ranks, workers and micro-batches") {
  constexpr int64_t kSteps = 3, kGlobal = 48;
  for (const int ranks : {1, 2, 3, 4})
    for (const int64_t micro : {1, 2, 4})
      for (const int64_t workers : {1, 2, 5}) {
        INFO(ranks << " ranks, micro-batch " << micro << ", " << workers << " workers");
        std::vector<std::pair<int32_t, int32_t>> all;
        for (int r = 0; r < ranks; ++r) {
          PrefetchOptions o = options(kGlobal, r, ranks);
          o.num_workers = workers;
          const auto part = rank_stream(micro, o, kSteps);
          all.insert(all.end(), part.begin(), part.end());
        }
        std::sort(all.begin(), all.end());
        REQUIRE(int64_t(all.size()) == kSteps * kGlobal);
        for (size_t i = 0; i < all.size(); ++i)
          CHECK(all[i] == std::pair<int32_t, int32_t>(int32_t(i), int32_t(i % kGlobal)));
      }
}

TEST_CASE("a stream that starts at a position is the tail of the stream from the start") {
  const auto whole = rank_stream(2, options(8, 1, 2), 10);
  PrefetchOptions o = options(8, 1, 2);
  o.first_position = 7 * 8;
  const auto tail = rank_stream(2, o, 3);
  CHECK(std::equal(tail.begin(), tail.end(), whole.end() - std::ptrdiff_t(tail.size())));
}

TEST_CASE("batches are reused: no more than the ring holds, and never before the caller is done") {
  const RecordingSource source;
  const BatchLayout layout = layout_of(1);
  Prefetcher prefetcher(source, layout, options(4));
  std::map<const HostBatch*, int> uses;
  for (int i = 0; i < 300; ++i) {
    const HostBatch& batch = prefetcher.next().batch;
    CHECK(first_token(batch) == i);
    ++uses[&batch];
  }
  CHECK(uses.size() == 3);
}

TEST_CASE("a worker's error comes out of next() for the batch that met it, and not before") {
  const RecordingSource source(1000, 5);
  const BatchLayout layout = layout_of(2);
  PrefetchOptions o = options(2);
  o.num_workers = 2;
  Prefetcher prefetcher(source, layout, o);
  CHECK(first_token(prefetcher.next().batch) == 0);
  CHECK(first_token(prefetcher.next().batch) == 2);
  const Failure f = failure_of([&] { prefetcher.next(); });
  CHECK(f.code == 65);
  CHECK(f.message == "bad sample");
  CHECK(first_token(prefetcher.next().batch) == 6);
}

TEST_CASE("a prefetcher stops whether its batches were taken or not") {
  const RecordingSource source;
  const BatchLayout layout = layout_of(1);
  for (int taken = 0; taken < 20; ++taken) {
    PrefetchOptions o = options(4);
    o.num_workers = 3;
    Prefetcher prefetcher(source, layout, o);
    for (int i = 0; i < taken; ++i) prefetcher.next();
  }
}

TEST_CASE("next() leaves its wait when the run is aborted, and after its deadline") {
  // A source that never answers until it is let go.
  struct StuckSource final : DataSource {
    StuckSource() : DataSource(Split::train, 0) {}
    FutexWord let_go{0};
    int64_t num_samples() const override { return 10; }
    std::string fingerprint() const override { return {}; }
    void fill_sample(HostBatch&, int64_t, const Draw&) const override {
      wait_while_equal(let_go, 0, WaitPolicy{}, "test");
    }
  } source;
  const BatchLayout layout = layout_of(1);
  FutexWord abort_word{1};
  PrefetchOptions o = options(1);
  o.wait = {.abort_word = &abort_word};
  {
    Prefetcher prefetcher(source, layout, o);
    CHECK_THROWS_AS(prefetcher.next(), Aborted);
    source.let_go = 1;
    wake_all(source.let_go);
  }
  source.let_go = 0;
  o.wait = {.timeout_ms = 10};
  Prefetcher prefetcher(source, layout, o);
  CHECK(failure_of([&] { prefetcher.next(); }).code == 124);
  source.let_go = 1;
  wake_all(source.let_go);
}

TEST_CASE("training reads the file in the sampler's order, epoch after epoch") {
  const TemporaryFolder folder;
  const BatchLayout layout = layout_of(4);
  const auto source = open_bytes({.paths = {write_file(folder.path / "t", as_bytes(counting<uint8_t>(41)))},
                                  .split = Split::train,
                                  .seed = 7,
                                  .batch = layout});
  CHECK(source->num_samples() == 10);
  Prefetcher prefetcher(*source, layout, options(4));
  for (uint64_t position = 0; position < 40; position += 4) {
    const HostBatch& batch = prefetcher.next().batch;
    for (size_t i = 0; i < 4; ++i) {
      const uint64_t at = position + i;
      const int64_t sample = sample_index(7, at / 10, int64_t(at % 10), 10);
      for (int64_t t = 0; t < kContext; ++t) {
        CHECK(batch.values<int32_t>("tokens")[i * kContext + size_t(t)] == sample * kContext + t);
        CHECK(batch.values<int32_t>("targets")[i * kContext + size_t(t)] == sample * kContext + t + 1);
      }
    }
  }
}

TEST_CASE(
    "an evaluation has the first samples of the file, each once over all ranks, and filler that counts for nothing") {
  const RecordingSource source(20);
  for (const int64_t micro_batch : {1, 3, 7, 8})
    for (const int64_t samples : {1, 13, 20, 50, 0})
      for (const int ranks : {1, 2, 3, 9})
        for (const int64_t workers : {1, 3}) {
          CAPTURE(micro_batch, samples, ranks, workers);
          const BatchLayout layout = layout_of(micro_batch);
          const int64_t expected = samples == 0 ? 20 : std::min<int64_t>(samples, 20);
          std::vector<int32_t> counted;
          int64_t taken = 0;
          for (int r = 0; r < ranks; ++r) {
            EvalBatches batches(source, layout,
                                {.samples = samples, .rank = r, .num_ranks = ranks, .num_workers = workers});
            CHECK(batches.num_samples() == expected);
            CHECK(batches.total() == (expected + micro_batch - 1) / micro_batch);
            CHECK(batches.end() - batches.begin() <= (batches.total() + ranks - 1) / ranks);
            batches.start();
            for (int64_t b = batches.begin(); b < batches.end(); ++b, ++taken) {
              HostBatch batch = batches.next();
              for (int64_t i = 0; i < micro_batch; ++i) {
                CHECK(batch.sample_ids()[size_t(i)] == int32_t(taken * micro_batch + i));
                if (batch.sample<int32_t>("targets", i)[0] >= 0) counted.push_back(first_token(batch, i));
              }
            }
          }
          CHECK(counted == counting<int32_t>(expected));
        }
}

TEST_CASE("an evaluation's batches are read from its start to its end, and every evaluation has the same") {
  // Counts the samples that were read.
  struct CountingSource final : DataSource {
    CountingSource() : DataSource(Split::valid, 0) {}
    mutable FutexWord num_read{0};
    int64_t num_samples() const override { return 5; }
    std::string fingerprint() const override { return {}; }
    void fill_sample(HostBatch& batch, int64_t i, const Draw& draw) const override {
      std::ranges::fill(batch.sample<int32_t>("tokens", i), int32_t(draw.sample));
      ++num_read;
      wake_all(num_read);
    }
  } source;
  const BatchLayout layout = layout_of(1);
  for (const int64_t workers : {1, 2, 7}) {
    source.num_read = 0;
    EvalBatches batches(source, layout, {.num_workers = workers});
    for (uint32_t evaluation = 0; evaluation < 4; ++evaluation) {
      CAPTURE(workers, evaluation);
      CHECK(source.num_read == evaluation * 5);  // those of the next are not read before it starts
      batches.start();
      for (int32_t b = 0; b < 5; ++b) CHECK(first_token(batches.next()) == b);
    }
  }
  EvalBatches batches(source, layout, {.num_workers = 2});
  const uint32_t before = source.num_read;
  batches.start();
  wait_until_reached(source.num_read, before + 4, {}, "test");  // ahead of who takes them, as far as there are places
}

TEST_CASE("what a format does not give to a model, and a format that there is not, are refused by name") {
  const BatchLayout images(
      {{.name = "image", .dtype = DType::f32, .sample = {8, 8, 3}}, {.name = "label", .sample = {}}}, 2);
  const auto open = [&](const char* format) {
    return failure_of([&] { find_maker(source_makers(), format, images); });
  };
  CHECK(open("bytes").code == 78);
  CHECK_THAT(open("bytes").message, Contains("data.format bytes has no image, label, of which the model learns"));
  CHECK_THAT(open("tokens").message, Contains("formats that have: images, idx, cifar10, cifar100, synthetic"));
  const BatchLayout masked({{.name = "tokens", .sample = {4}},
                            {.name = "types", .sample = {4}},
                            {.name = "positions", .sample = {2}},
                            {.name = "targets", .sample = {2}}},
                           2);
  const Failure no_masks = failure_of([&] { find_maker(source_makers(), "bytes", masked); });
  CHECK(no_masks.code == 78);
  CHECK_THAT(no_masks.message, Contains("data.format bytes has no types, positions, of which") &&
                                   Contains("; formats that have: tokens"));
  CHECK(find_maker(source_makers(), "tokens", masked).format == "tokens");
  CHECK(open("pictures").code == 78);
  CHECK_THAT(open("pictures").message, Contains("\"pictures\""));
}

TEST_CASE("the stream crosses from epoch to epoch, at positions that no int32 holds") {
  struct Shuffled final : DataSource {
    explicit Shuffled(int64_t n) : DataSource(Split::train, 5), n_(n) {}
    int64_t num_samples() const override { return n_; }
    std::string fingerprint() const override { return {}; }
    void fill_sample(HostBatch&, int64_t, const Draw&) const override {}
    int64_t n_;
  };
  const auto is = [](const Draw& draw, uint64_t epoch, int64_t sample) {
    return draw.epoch == epoch && draw.sample == sample;
  };
  const Shuffled thousand(1000);
  CHECK(is(thousand.draw(999), 0, sample_index(5, 0, 999, 1000)));
  CHECK(is(thousand.draw(1000), 1, sample_index(5, 1, 0, 1000)));
  CHECK(is(thousand.draw(7'000'000'000'123), 7'000'000'000, sample_index(5, 7'000'000'000, 123, 1000)));
  const int64_t huge = int64_t{1} << 40;
  const int64_t sample = Shuffled(huge).draw((uint64_t{1} << 63) + 12345).sample;
  CHECK((sample >= 0 && sample < huge));
}

TEST_CASE("the fields of a batch do not overlap, and start where a vector may") {
  const BatchLayout layout(
      {{.name = "a", .dtype = DType::u8, .sample = {3, 5}}, {.name = "b", .dtype = DType::f64, .sample = {}}}, 7);
  HostBatch batch(layout);
  CHECK(layout.find("c") == nullptr);
  std::ranges::fill(batch.values<uint8_t>("a"), uint8_t(1));
  std::ranges::fill(batch.values<double>("b"), 0.0);
  std::ranges::fill(batch.sample_ids(), 0);
  CHECK(batch.values<uint8_t>("a").size() == 7 * 15);
  CHECK(std::ranges::count(batch.values<uint8_t>("a"), uint8_t(1)) == 7 * 15);
  for (const BatchLayout::Field& field : layout.fields()) CHECK(field.offset % 64 == 0);
}
