// Masked language modelling: which tokens are to be predicted, what stands in their places, and the samples that a
// token file gives.
#include "runtime/data/masking.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "runtime/data/eval_batches.h"
#include "runtime/data/masked_source.h"
#include "runtime/data/prefetcher.h"
#include "runtime/data/token_source.h"
#include "tests/data/token_bytes.h"
#include "tests/support/failure.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Contains;

namespace {

constexpr int32_t kCls = 2, kSep = 3, kMask = 4, kFirstWord = 5;

struct Masked {
  std::vector<int32_t> tokens, positions, targets;
  bool operator==(const Masked&) const = default;
};

Masked masked(std::vector<int32_t> tokens, size_t k, const Draw& draw = {}, uint64_t seed = 1, int64_t vocab = 64) {
  Masked m{std::move(tokens), std::vector<int32_t>(k, 99), std::vector<int32_t>(k, 99)};
  mask_tokens({.special = {0, 1, kCls, kSep, kMask}, .mask = kMask, .vocab = vocab}, seed, draw, m.tokens, m.positions,
              m.targets);
  return m;
}

// cls, words, sep; no two of 40 neighbours are alike.
std::vector<int32_t> sentence(size_t n) {
  std::vector<int32_t> tokens(n);
  for (size_t i = 0; i < n; ++i) tokens[i] = kFirstWord + int32_t(i % 40);
  tokens.front() = kCls, tokens.back() = kSep;
  return tokens;
}

// Distinct and ascending, then -1; the targets are what stood there.
void check_choice(const Masked& m, const std::vector<int32_t>& before, size_t n) {
  const auto chosen = std::span(m.positions).first(n);
  CHECK(std::ranges::adjacent_find(chosen, std::greater_equal()) == chosen.end());
  for (size_t i = 0; i < m.positions.size(); ++i) {
    if (i >= n) {
      CHECK(m.positions[i] == -1);
      CHECK(m.targets[i] == -1);
      continue;
    }
    REQUIRE((m.positions[i] >= 0 && m.positions[i] < int32_t(before.size())));
    CHECK(m.targets[i] == before[size_t(m.positions[i])]);
    CHECK(m.targets[i] >= kFirstWord);
  }
  for (size_t t = 0; t < before.size(); ++t)
    if (std::ranges::count(chosen, int32_t(t)) == 0) CHECK(m.tokens[t] == before[t]);
}

BatchLayout layout_of(int64_t context, int64_t k, int64_t batch, int64_t vocab = 64) {
  return {{{.name = "tokens", .sample = {context}, .limit = vocab},
           {.name = "types", .sample = {context}, .limit = 2},
           {.name = "positions", .sample = {k}},
           {.name = "targets", .sample = {k}, .limit = vocab, .is_target = true}},
          batch};
}

// Of a vocabulary of 64.
std::string meta(const std::string& special = R"("pad":0,"unk":1,"cls":2,"sep":3,"mask":4)") {
  return R"({"tokenizer":"wordpiece","vocab":64,"special":{)" + special + R"(},"files":{}})";
}

struct Folder {
  TemporaryFolder folder;
  std::filesystem::path file = folder.path / "train.bin";

  explicit Folder(size_t num_tokens = 600) {
    std::vector<uint16_t> tokens(num_tokens);
    for (size_t i = 0; i < num_tokens; ++i) tokens[i] = uint16_t(i % 50 == 49 ? kSep : kFirstWord + int(i * 7 % 59));
    write_file(file, as_bytes(tokens));
    write_meta(meta());
  }
  void write_meta(const std::string& text) const {
    write_file(folder.path / "meta.json", std::as_bytes(std::span(text)));
  }
  std::vector<int32_t> tokens(int64_t begin, int64_t n) const {
    std::vector<uint16_t> stored(size_t(std::filesystem::file_size(file)) / 2);
    read_exact(open_input(file), std::as_writable_bytes(std::span(stored)), 0, file);
    return {stored.begin() + begin, stored.begin() + begin + n};
  }
  std::unique_ptr<DataSource> open(const BatchLayout& layout, Split split = Split::train) const {
    return open_tokens({.paths = {file}, .split = split, .seed = 5, .batch = layout});
  }
  Failure failure(const BatchLayout& layout) const {
    return failure_of([&] { open(layout); });
  }
};

Masked sample_of(HostBatch& batch, int64_t i) {
  const auto copy = [&](const char* name) {
    const std::span<int32_t> values = batch.sample<int32_t>(name, i);
    return std::vector<int32_t>(values.begin(), values.end());
  };
  CHECK(copy("types") == std::vector<int32_t>(copy("tokens").size(), 0));
  return {copy("tokens"), copy("positions"), copy("targets")};
}

Masked sample_at(const DataSource& source, const BatchLayout& layout, uint64_t position) {
  HostBatch batch(layout);
  std::ranges::fill(batch.bytes(), std::byte{0x5A});
  source.fill(batch, position);
  return sample_of(batch, 0);
}

// As the file has them.
std::vector<int32_t> restored(const Masked& m) {
  std::vector<int32_t> tokens = m.tokens;
  for (size_t i = 0; i < m.positions.size() && m.positions[i] >= 0; ++i) tokens[size_t(m.positions[i])] = m.targets[i];
  return tokens;
}

}  // namespace

TEST_CASE("15% of a sample's tokens are masked, at least one, at most as many as there are places or words") {
  const std::vector<std::pair<int64_t, int64_t>> rounded = {{1, 1},  {3, 1},  {7, 1},  {9, 1},    {10, 2},
                                                            {16, 2}, {17, 3}, {33, 5}, {128, 19}, {512, 77}};
  for (const auto& [t, n] : rounded) CHECK(num_masked(t) == n);
  for (const size_t t : {3, 7, 33, 128})
    for (const size_t k : {1, 5, 20})
      for (int64_t sample = 0; sample < 50; ++sample) {
        INFO("T " << t << " K " << k << " sample " << sample);
        const size_t n = std::min(k, size_t(num_masked(int64_t(t))));
        check_choice(masked(sentence(t), k, {0, sample}), sentence(t), n);
      }
  const std::vector<int32_t> two_words = {kCls, 0, 9, 1, kSep, kMask, kSep, 11, 0, 0,   0,
                                          0,    0, 0, 0, 0,    0,     0,    0,  0, kSep};
  check_choice(masked(two_words, 5), two_words, 2);
  const std::vector<int32_t> no_word(33, kSep);
  check_choice(masked(no_word, 5), no_word, 0);
  CHECK(masked(no_word, 5).tokens == no_word);
}

TEST_CASE("each word is as likely to be masked as each other, whatever its place") {
  constexpr int kSamples = 20'000;
  const std::vector<int32_t> tokens = sentence(33);
  std::vector<int> count(33);
  std::map<std::pair<int32_t, int32_t>, int> pairs;
  for (int64_t sample = 0; sample < kSamples; ++sample) {
    const Masked m = masked(tokens, 5, {7, sample});
    for (const int32_t p : m.positions) ++count[size_t(p)];
    ++pairs[{m.positions[0], m.positions[1]}];
  }
  CHECK(count.front() == 0);
  CHECK(count.back() == 0);
  const double expected = kSamples * 5.0 / 31, deviation = std::sqrt(expected * (1 - 5.0 / 31));
  double chi2 = 0;
  for (size_t t = 1; t < 32; ++t) {
    INFO("position " << t);
    CHECK(std::abs(count[t] - expected) < 5 * deviation);
    chi2 += std::pow((count[t] - expected) / deviation, 2);
  }
  CHECK(chi2 < 30 + 5 * std::sqrt(60.0));
  // Of two neighbours in the choice the first is at p, the second at q: C(31 - q, 3) of C(31, 5) choices.
  CHECK(std::abs(pairs[{1, 2}] - kSamples * 3654.0 / 169911) < 5 * std::sqrt(kSamples * 3654.0 / 169911));
}

TEST_CASE("of the masked, 80% are [MASK], 10% any token of the vocabulary, 10% as they were") {
  constexpr int64_t kVocab = 64, kSamples = 8'000;
  const std::vector<int32_t> tokens = sentence(128);  // words 5 to 44
  int64_t total = 0, masks = 0, same = 0;
  std::vector<int64_t> others(size_t(kVocab), 0);
  for (int64_t sample = 0; sample < kSamples; ++sample) {
    const Masked m = masked(tokens, 20, {0, sample}, 3, kVocab);
    for (size_t i = 0; i < 19; ++i) {
      const int32_t now = m.tokens[size_t(m.positions[i])];
      ++total;
      if (now == kMask)
        ++masks;
      else if (now == m.targets[i])
        ++same;
      else
        ++others.at(size_t(now));
    }
  }
  REQUIRE(total == kSamples * 19);
  const auto is_share = [&](int64_t count, double share) {
    INFO(count << " of " << total << ", expected " << share);
    CHECK(std::abs(double(count) - double(total) * share) < 5 * std::sqrt(double(total) * share * (1 - share)));
  };
  // A random token may also be [MASK], or what stood there.
  is_share(masks, 0.8 + 0.1 / kVocab);
  is_share(same, 0.1 + 0.1 / kVocab);
  for (int32_t id = 0; id < kVocab; ++id) {
    if (id == kMask) continue;
    const bool is_word = id >= kFirstWord && id < kFirstWord + 40;  // a fortieth of the targets, nearly
    INFO("token " << id);
    is_share(others[size_t(id)], 0.1 / kVocab * (is_word ? 39.0 / 40 : 1.0));
  }
}

TEST_CASE("masks depend on seed, epoch and sample, on all bits of the sample, and on nothing else") {
  const std::vector<int32_t> tokens = sentence(128);
  const Masked base = masked(tokens, 20, {3, 77}, 9);
  CHECK(masked(tokens, 20, {3, 77}, 9) == base);
  CHECK(masked(tokens, 20, {4, 77}, 9) != base);
  for (const uint64_t bit : {uint64_t{1}, uint64_t{1} << 31, uint64_t{1} << 32, uint64_t{1} << 62}) {
    CHECK(masked(tokens, 20, {3, 77 ^ int64_t(bit)}, 9) != base);
    CHECK(masked(tokens, 20, {3, 77}, 9 ^ bit) != base);
  }
}

TEST_CASE("masks are fixed for all time: a resume by a later build sees the same samples") {
  const Masked m = masked(sentence(128), 19, {1, 2}, 3);
  CHECK(m.positions ==
        std::vector<int32_t>{3, 5, 6, 12, 15, 35, 39, 41, 57, 72, 83, 85, 87, 98, 102, 113, 116, 123, 126});
  std::vector<int32_t> now;
  for (const int32_t p : m.positions) now.push_back(m.tokens[size_t(p)]);
  // 17 and 40 are as they were, 19 is random.
  CHECK(now == std::vector<int32_t>{4, 4, 4, 17, 4, 40, 4, 4, 4, 4, 4, 19, 4, 4, 4, 4, 4, 4, 4});
}

TEST_CASE("a masked sample is [CLS], the file's next tokens and [SEP], at every size") {
  const Folder folder(600);
  for (const int64_t t : {3, 7, 33})
    for (const int64_t k : {1, 5}) {
      INFO("T " << t << " K " << k);
      const BatchLayout layout = layout_of(t, k, 1);
      const auto source = folder.open(layout, Split::valid);
      REQUIRE(source->num_samples() == 600 / (t - 2));
      CHECK(source->bytes_per_target() == 0);
      for (int64_t i = 0; i < source->num_samples(); ++i) {
        const Masked m = sample_at(*source, layout, uint64_t(i));
        std::vector<int32_t> expected = folder.tokens(i * (t - 2), t - 2);
        const size_t words = size_t(std::ranges::count_if(expected, [](int32_t x) { return x >= kFirstWord; }));
        expected.insert(expected.begin(), kCls);
        expected.push_back(kSep);
        CHECK(restored(m) == expected);
        check_choice(m, expected, std::min({size_t(k), words, size_t(num_masked(t))}));
      }
    }
}

TEST_CASE("a file may end where a masked sample does") {
  const BatchLayout layout = layout_of(7, 1, 1);
  CHECK(Folder(5).open(layout)->num_samples() == 1);
  CHECK(Folder(9).open(layout)->num_samples() == 1);
  CHECK(Folder(10).open(layout)->num_samples() == 2);
  const Failure f = Folder(4).failure(layout);
  CHECK(f.code == 65);
  CHECK_THAT(f.message, Contains("train.bin holds 4 tokens; a sample needs 5"));
}

TEST_CASE("training masks a sample otherwise in each epoch, evaluation always alike") {
  const Folder folder;
  const BatchLayout layout = layout_of(33, 5, 1);
  for (const Split split : {Split::train, Split::valid}) {
    const auto source = folder.open(layout, split);
    const auto n = uint64_t(source->num_samples());
    std::map<std::vector<int32_t>, std::set<std::vector<int32_t>>> seen;  // sample -> choices
    for (uint64_t p = 0; p < 3 * n; ++p) {
      const Masked m = sample_at(*source, layout, p);
      seen[restored(m)].insert(m.positions);
    }
    REQUIRE(seen.size() == n);
    for (const auto& [tokens, choices] : seen) CHECK(choices.size() == (split == Split::train ? 3 : 1));
  }
}

TEST_CASE("masked samples are the same for any number of ranks and workers, and from any step on") {
  const Folder folder;
  const BatchLayout layout = layout_of(33, 5, 2), one = layout_of(33, 5, 1);
  const auto source = folder.open(layout);
  for (const int ranks : {1, 2})
    for (const int64_t workers : {1, 3})
      for (const int64_t first_step : {1, 6})
        for (int rank = 0; rank < ranks; ++rank) {
          PrefetchOptions options{.global_batch = 4, .rank = rank, .num_ranks = ranks, .wait = {.timeout_ms = 60'000}};
          options.first_position = (first_step - 1) * options.global_batch;
          options.num_workers = workers;
          Prefetcher prefetcher(*source, layout, options);
          for (int64_t step = first_step; step < first_step + 12; ++step)
            for (int64_t i = 0; i < 4 / ranks; i += 2) {
              HostBatch batch = prefetcher.next().batch;
              for (int64_t j = 0; j < 2; ++j) {
                const int64_t position = (step - 1) * 4 + rank * (4 / ranks) + i + j;
                CHECK(sample_of(batch, j) == sample_at(*source, one, uint64_t(position)));
              }
            }
        }
}

TEST_CASE("filler at the end of an evaluation has no masked targets") {
  const Folder folder(31 * 3);
  const BatchLayout layout = layout_of(33, 5, 2);
  const auto source = folder.open(layout, Split::valid);
  EvalBatches batches(*source, layout, {});
  REQUIRE(batches.total() == 2);
  batches.start();
  batches.next();
  HostBatch last = batches.next();
  CHECK(sample_of(last, 0).targets[0] >= kFirstWord);
  CHECK(sample_of(last, 1).targets == std::vector<int32_t>(5, -1));
}

TEST_CASE("the fingerprint of masked samples knows the special tokens and the vocabulary") {
  const Folder folder;
  const BatchLayout layout = layout_of(33, 5, 1);
  const std::string before = folder.open(layout)->fingerprint();
  CHECK_THAT(before, Contains("1200 bytes, xxh3 ") && Contains(", vocab 64, cls 2, mask 4, pad 0, sep 3, unk 1"));
  folder.write_meta(meta(R"("pad":0,"unk":1,"cls":2,"sep":3,"mask":5)"));
  CHECK(folder.open(layout)->fingerprint() != before);
  folder.write_meta(meta());
  CHECK(folder.open(layout)->fingerprint() == before);
}

TEST_CASE("masked language modelling without what it needs is refused, saying what to do") {
  const Folder folder;
  const BatchLayout layout = layout_of(33, 5, 1);
  const auto is_refused = [&](const BatchLayout& of, int code, const std::vector<std::string>& words) {
    const Failure f = folder.failure(of);
    INFO(f.message);
    CHECK(f.code == code);
    for (const std::string& word : words) CHECK_THAT(f.message, Contains(word));
    CHECK(f.message.find('\n') == std::string::npos);
  };
  const std::string path = (folder.folder.path / "meta.json").string();
  is_refused(layout_of(33, 5, 1, 63), 78, {path + " is of 64 tokens, and model.vocab is 63; set model.vocab to 64"});
  CHECK_THROWS_AS(folder.open(layout_of(2, 1, 1)), Bug);  // the model's to refuse
  for (const std::string name : {"cls", "sep", "mask"}) {
    std::string special = R"("pad":0,"unk":1,"cls":2,"sep":3,"mask":4)";
    folder.write_meta(meta(special.replace(special.find(name), name.size(), "x")));
    is_refused(layout, 65, {path + " has no special." + name + ", which masked language modelling needs"});
  }
  folder.write_meta("{}");
  is_refused(layout, 65, {path + " has no vocab"});
  folder.write_meta(R"({"vocab":64,"special":{},"files":{"train.bin":{"tokens":601,"bytes":1}}})");
  is_refused(layout, 65, {"says that train.bin has 601 tokens, it holds 600"});
  std::filesystem::remove(path);
  is_refused(layout, 66,
             {path + " is missing, which names the special tokens of " + folder.file.string(),
              "scripts/prepare_text.py writes it"});
}

TEST_CASE(
    "masked samples of several files follow one another, with masks of their own, if they are of one vocabulary") {
  const Folder a(200), b(200), c(200);
  const BatchLayout layout = layout_of(33, 5, 1);
  const auto open = [&](std::vector<std::filesystem::path> paths) {
    return open_tokens({.paths = std::move(paths), .split = Split::valid, .seed = 5, .batch = layout});
  };
  const auto all = open({a.file, b.file}), one = open({a.file});
  REQUIRE(one->num_samples() == 6);
  REQUIRE(all->num_samples() == 12);
  for (uint64_t i = 0; i < 6; ++i) {
    const Masked first = sample_at(*all, layout, i), second = sample_at(*all, layout, 6 + i);
    CHECK(first.tokens == sample_at(*one, layout, i).tokens);
    CHECK(restored(first) == restored(second));  // the files are the same
    CHECK(first.positions != second.positions);
  }
  c.write_meta(meta(R"("pad":0,"unk":1,"cls":2,"sep":3,"mask":5)"));
  const Failure f = failure_of([&] { open({a.file, b.file, c.file}); });
  CHECK(f.code == 65);
  CHECK_THAT(f.message, Contains(c.file.string()) && Contains("different vocabularies"));
}

TEST_CASE("a token that the vocabulary does not hold is found in the masked sample that meets it") {
  const Folder folder;
  std::vector<uint16_t> tokens(600, 9);
  tokens[40] = 64;
  write_file(folder.file, as_bytes(tokens));
  const BatchLayout layout = layout_of(33, 5, 1);
  const auto source = folder.open(layout, Split::valid);
  CHECK_NOTHROW(sample_at(*source, layout, 0));
  const Failure f = failure_of([&] { sample_at(*source, layout, 1); });
  CHECK(f.code == 65);
  CHECK_THAT(f.message, Contains("token 64 at index 40, not below model.vocab 64"));
}
