// CIFAR's binary files: planes become pixels, a folder has the files of its split, and what is wrong is said by name.
#include "runtime/data/images/cifar.h"

#include <catch2/catch.hpp>

#include "tests/data/pictures.h"
#include "tests/support/failure.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Contains;

namespace {

constexpr size_t kPlane = 32 * 32;

// `labels` before each picture; picture i has random pixels of seed i.
std::string records(const std::vector<std::string>& labels, uint32_t seed = 0) {
  std::string text;
  for (const std::string& label : labels) text += label + random_bytes(3 * kPlane, seed++);
  return text;
}

Shown picture(uint32_t seed, int32_t label) {
  const std::string planes = random_bytes(3 * kPlane, seed);
  Shown out{std::vector<uint8_t>(3 * kPlane), label};
  for (size_t i = 0; i < 3 * kPlane; ++i) out.pixels[i % kPlane * 3 + i / kPlane] = uint8_t(planes[i]);
  return out;
}

std::unique_ptr<DataSource> open(bool fine, const std::filesystem::path& path, const BatchLayout& layout,
                                 Split split = Split::valid) {
  return (fine ? open_cifar100 : open_cifar10)({.paths = {path}, .split = split, .batch = layout});
}

}  // namespace

TEST_CASE("cifar: planes become pixels, and the label is the last byte before them") {
  const TemporaryFolder folder;
  const BatchLayout layout = image_layout(3, 32, 3, 100);
  write(folder.path / "ten", records({"\1", "\7", "\2"}));
  write(folder.path / "hundred", records({"\1\x20", "\7\x21", "\2\x22"}));
  const std::vector<Shown> ten = shown(*open(false, folder.path / "ten", layout), layout),
                           hundred = shown(*open(true, folder.path / "hundred", layout), layout);
  for (uint32_t i = 0; i < 3; ++i) {
    CHECK(ten[i] == picture(i, std::array{1, 7, 2}[i]));
    CHECK(hundred[i] == picture(i, int32_t(0x20 + i)));
  }
}

TEST_CASE("cifar: a folder has the files of each split, in the order of their numbers") {
  const TemporaryFolder folder;
  const BatchLayout layout = image_layout(2, 32, 3, 10);
  for (uint32_t i = 1; i <= 5; ++i)
    write(folder.path / ("data_batch_" + std::to_string(i) + ".bin"), records({std::string(1, char(i))}, i));
  write(folder.path / "test_batch.bin", records({"\6", "\7"}, 60));
  const auto train = open(false, folder.path, layout, Split::train);
  CHECK(train->num_samples() == 5);
  std::vector<Shown> all;
  for (uint64_t i = 0; i < 5; ++i) all.push_back(shown(*train, image_layout(1, 32, 3, 10), i)[0]);
  std::ranges::sort(all, {}, &Shown::label);
  for (uint32_t i = 1; i <= 5; ++i) CHECK(all[i - 1] == picture(i, int32_t(i)));
  CHECK(shown(*open(false, folder.path, layout), layout) == std::vector{picture(60, 6), picture(61, 7)});

  std::filesystem::remove(folder.path / "data_batch_4.bin");
  const Failure missing = failure_of([&] { open(false, folder.path, layout, Split::train); });
  CHECK(missing.code == 66);
  CHECK_THAT(missing.message, Contains("data_batch_4.bin: No such file"));
  CHECK_THAT(failure_of([&] { open(true, folder.path, layout, Split::train); }).message, Contains("/train.bin"));
  CHECK_THAT(failure_of([&] { open(true, folder.path, layout); }).message, Contains("/test.bin"));
}

TEST_CASE("cifar: what is wrong with a file is said by name") {
  const TemporaryFolder folder;
  const BatchLayout layout = image_layout(1, 32, 3, 10);
  const auto failure = [&](const std::string& bytes, const BatchLayout& of) {
    write(folder.path / "x.bin", bytes);
    return failure_of([&] { open(false, folder.path / "x.bin", of); });
  };
  for (const std::string& bytes : {records({"\1"}) + "x", std::string(), records({"\1\2"}), std::string("\1")}) {
    const Failure f = failure(bytes, layout);
    CHECK(f.code == 65);
    CHECK_THAT(f.message, Contains("x.bin has") && Contains("3073-byte records"));
  }
  const Failure label = failure(records({"\1", "\x0a"}), layout);
  CHECK(label.code == 65);
  CHECK_THAT(label.message, Contains("x.bin: sample 1 has label 10, not below model.classes 10"));
  const Failure grey = failure(records({"\1"}), image_layout(1, 32, 1, 10));
  CHECK(grey.code == 78);
  CHECK_THAT(grey.message, Contains("3 channels and model.channels is 1"));
}

TEST_CASE("cifar: files of any bytes are read or refused") {
  const TemporaryFolder folder;
  const BatchLayout layout = image_layout(2, 8, 3, 10);
  std::mt19937 random(12);
  for (int i = 0; i < num_mutations(); ++i) {
    write(folder.path / "x.bin", mutated(records({"\1", "\2", "\3"}), random, kHeader));
    const Failure f = failure_of([&] {
      const auto source = open(i % 2 == 0, folder.path / "x.bin", layout);
      if (i % 16 == 0) shown(*source, layout);
    });
    if (f.code != 0 && f.code != 65) FAIL(f.code << ": " << f.message);
  }
}
