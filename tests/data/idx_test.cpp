// MNIST's files: pictures and labels, plain and compressed, and one clear error for each way in which they can be
// wrong.
#include "runtime/data/images/idx.h"

#include <catch2/catch.hpp>

#include "runtime/data/prefetcher.h"
#include "tests/data/pictures.h"
#include "tests/support/failure.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Contains;

namespace {

constexpr uint32_t kPictures = 20, kSide = 6;
const std::string kPixels = random_bytes(kPictures * kSide * kSide, 1);

std::string label_bytes() {
  std::string labels;
  for (uint32_t i = 0; i < kPictures; ++i) labels += char(i % 10);
  return labels;
}

struct Files {
  std::string pictures = idx({kPictures, kSide, kSide}, kPixels), labels = idx({kPictures}, label_bytes());
};

struct Case {
  TemporaryFolder folder;
  BatchLayout layout = image_layout(kPictures, kSide, 1, 10);

  std::filesystem::path write(const Files& files, const std::string& ending = "") {
    test::write(folder.path / ("t10k-labels-idx1-ubyte" + ending), files.labels);
    const std::filesystem::path path = folder.path / ("t10k-images-idx3-ubyte" + ending);
    test::write(path, files.pictures);
    return path;
  }
  std::unique_ptr<DataSource> open(const std::filesystem::path& path, Split split = Split::valid,
                                   Augment augment = Augment::none) {
    return open_idx({.paths = {path}, .split = split, .seed = 5, .batch = layout, .augment = augment});
  }
  Failure failure(const Files& files) {
    return failure_of([&] { open(write(files)); });
  }
};

}  // namespace

TEST_CASE("idx: sample i is picture i with label i, from plain and from compressed files") {
  Case c;
  const Files files;
  for (const bool compressed : {false, true}) {
    const auto path = compressed ? c.write({gzipped(files.pictures), gzipped(files.labels)}, ".gz") : c.write(files);
    const auto source = c.open(path);
    REQUIRE(source->num_samples() == kPictures);
    const std::vector<Shown> all = shown(*source, c.layout);
    for (uint32_t i = 0; i < kPictures; ++i) {
      const std::string pixels = kPixels.substr(i * kSide * kSide, kSide * kSide);
      CHECK(all[i] == Shown{{pixels.begin(), pixels.end()}, int32_t(i % 10)});
    }
  }
}

TEST_CASE("idx: pictures of another size than the model's are scaled") {
  Case c;
  const auto path = c.write({idx({2, 4, 8}, std::string(32, '\x20') + std::string(32, '\x60')), idx({2}, "ab")});
  c.layout = image_layout(2, 16, 1, 256);
  const std::vector<Shown> all = shown(*c.open(path), c.layout);
  CHECK(all[0] == Shown{std::vector<uint8_t>(256, 0x20), 'a'});
  CHECK(all[1] == Shown{std::vector<uint8_t>(256, 0x60), 'b'});
}

TEST_CASE("idx: a mirrored picture has its columns in the other order, and training is other in each epoch") {
  Case c;
  const auto path = c.write({});
  const std::vector<Shown> plain = shown(*c.open(path), c.layout);
  const auto source = c.open(path, Split::train, Augment::flip);
  int mirrored = 0;
  for (uint64_t i = 0; i < 10 * kPictures; ++i) {
    const Shown sample = shown(*source, image_layout(1, kSide, 1, 10), i)[0];
    Shown expected = plain[size_t(source->draw(i).sample)];
    if (sample == expected) continue;
    for (size_t row = 0; row < kSide; ++row)
      std::reverse(expected.pixels.begin() + long(row * kSide), expected.pixels.begin() + long((row + 1) * kSide));
    CHECK(sample == expected);
    ++mirrored;
  }
  CHECK((mirrored > 70 && mirrored < 130));
}

TEST_CASE("idx: every number of workers and ranks shows the same bits, resized crops and shifts too") {
  Case c;
  const auto path = c.write({});
  constexpr int64_t kGlobal = 8, kSteps = 6;
  for (const Augment augment : {Augment::shift, Augment::resized_crop}) {
    std::vector<Shown> first;
    for (const auto& [ranks, workers] : {std::pair{1, 1}, {1, 2}, {1, 5}, {4, 1}, {4, 2}}) {
      const BatchLayout layout = image_layout(2, kSide, 1, 10);
      const auto source = c.open(path, Split::train, augment);
      std::vector<Shown> all(kGlobal * kSteps);
      for (int r = 0; r < ranks; ++r) {
        Prefetcher prefetcher(*source, layout,
                              {.global_batch = kGlobal,
                               .rank = r,
                               .num_ranks = ranks,
                               .num_workers = workers,
                               .wait = {.timeout_ms = 60'000}});
        for (int64_t b = 0; b < kSteps * kGlobal / (2 * ranks); ++b) {
          HostBatch batch = prefetcher.next().batch;
          const int64_t step = b / (kGlobal / (2 * ranks));
          for (int64_t i = 0; i < 2; ++i) {
            const std::span<uint8_t> image = batch.sample<uint8_t>("image", i);
            all[size_t(step * kGlobal + batch.sample_ids()[size_t(i)])] = {{image.begin(), image.end()},
                                                                           batch.sample<int32_t>("label", i)[0]};
          }
        }
      }
      if (first.empty()) first = all;
      CHECK(all == first);
    }
  }
}

TEST_CASE("idx: the fingerprint is of every pixel and label, not of how they are stored") {
  Case c;
  const Files files;
  const std::string print = c.open(c.write(files))->fingerprint();
  CHECK(c.open(c.write({gzipped(files.pictures), gzipped(files.labels)}, ".gz"))->fingerprint() == print);
  Files other = files;
  other.pictures.back() ^= 1;
  CHECK(c.open(c.write(other))->fingerprint() != print);
  other = files;
  other.labels[12] ^= 1;
  CHECK(c.open(c.write(other))->fingerprint() != print);
}

TEST_CASE("idx: what is wrong with a file is said by name when it is opened") {
  Case c;
  const Files good;
  const auto with = [&](auto change) {
    Files files = good;
    change(files);
    return c.failure(files);
  };
  struct Wrong {
    Failure failure;
    int code;
    std::vector<std::string> words;
  };
  const std::vector<Wrong> cases = {
      {with([](Files& f) { f.pictures[3] = 1; }), 65, {"images-idx3", "0x00000801", "0x00000803"}},
      {with([](Files& f) { f.labels[0] = 1; }), 65, {"labels-idx1", "0x01000801", "labels"}},
      {with([](Files& f) { f.pictures.pop_back(); }), 65, {"images-idx3", "ends early"}},
      {with([](Files& f) { f.pictures.resize(9); }), 65, {"images-idx3", "more values than fit"}},
      {with([](Files& f) { f.pictures.clear(); }), 65, {"images-idx3", "ends early"}},
      {with([](Files& f) { f.labels += 'x'; }), 65, {"labels-idx1", "longer than the 20 values"}},
      {with([](Files& f) { f.labels = idx({kPictures - 1}, label_bytes().substr(1)); }),
       65,
       {"20 pictures", "19 labels"}},
      {with([](Files& f) { f.labels[8 + 13] = 10; }),
       65,
       {"labels-idx1", "sample 13 has label 10", "model.classes 10"}},
      {with([](Files& f) {
         f.pictures = idx({0, kSide, kSide}, "");
       }),
       65,
       {"no values"}},
      {with([](Files& f) {
         f.pictures = idx({~0u, ~0u, ~0u}, kPixels);
       }),
       65,
       {"more values than fit"}},
      {with([](Files& f) { f.pictures[4] = 1; }), 65, {"more values than fit"}},  // 16 million pictures more
      {with([](Files& f) { f.pictures = gzipped(f.pictures), f.pictures.resize(300); }),
       65,
       {"images-idx3", "corrupt"}},
      {with([](Files& f) { f.pictures = gzipped(f.pictures), f.pictures[400] ^= 1; }), 65, {"images-idx3", "corrupt"}},
  };
  for (const Wrong& wrong : cases) {
    INFO(wrong.failure.message);
    CHECK(wrong.failure.code == wrong.code);
    for (const std::string& word : wrong.words) CHECK_THAT(wrong.failure.message, Contains(word));
  }
  const auto path = c.write(good);
  std::filesystem::remove(c.folder.path / "t10k-labels-idx1-ubyte");
  const Failure missing = failure_of([&] { c.open(path); });
  CHECK(missing.code == 66);
  CHECK_THAT(missing.message, Contains("t10k-labels-idx1-ubyte: No such file"));
  write(c.folder.path / "pictures", good.pictures);
  const Failure unnamed = failure_of([&] { c.open(c.folder.path / "pictures"); });
  CHECK(unnamed.code == 66);
  CHECK_THAT(unnamed.message, Contains("train-labels-idx1-ubyte.gz"));
  c.layout = image_layout(1, kSide, 3, 10);
  const Failure colour = c.failure(good);
  CHECK(colour.code == 78);
  CHECK_THAT(colour.message, Contains("1 channel") && Contains("model.channels is 3"));
}

TEST_CASE("idx: files of any bytes are read or refused") {
  Case c;
  std::mt19937 random(11);
  const Files good, packed{gzipped(good.pictures), gzipped(good.labels)};
  int num_read = 0;
  for (int i = 0; i < num_mutations(); ++i) {
    Files files = i % 2 == 0 ? good : packed;
    (random() % 2 == 0 ? files.pictures : files.labels) =
        mutated(random() % 2 == 0 ? files.pictures : files.labels, random, kHeader);
    const auto path = c.write(files);
    const Failure f = failure_of([&] {
      const auto source = c.open(path, Split::train, Augment::resized_crop);
      shown(*source, c.layout);
      ++num_read;
    });
    if (f.code != 0 && f.code != 65) FAIL(f.code << ": " << f.message);
  }
  CHECK(num_read > 0);
  CHECK(num_read < num_mutations() / 2);
}
