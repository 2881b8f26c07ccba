// A folder with a folder for each class: what its index holds, which file a sample shows, and what a file that is no
// picture does.
#include "runtime/data/images/folder_images.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "runtime/data/prefetcher.h"
#include "runtime/data/sampler.h"
#include "tests/data/pictures.h"
#include "tests/support/failure.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Contains;

namespace {

constexpr int kThreads = 3;

std::vector<std::string> listed(const FolderIndex& index) {
  std::vector<std::string> all;
  for (int64_t i = 0; i < index.num_files(); ++i) {
    const FolderIndex::File file = index.file(i);
    all.push_back(std::string(file.folder) + "/" + std::string(file.name) + " " + std::to_string(file.size) + " " +
                  std::to_string(file.label));
  }
  return all;
}

// Three classes with 3, 1 and 4 pictures, each plain, of a grey of its own: 10 * class + number.
struct Pictures {
  TemporaryFolder folder;
  BatchLayout layout = image_layout(1, 5, 3, 3);

  Pictures() {
    for (const auto& [name, n] : {std::pair{"ant", 3}, {"bee", 1}, {"cat", 4}})
      for (int i = 0; i < n; ++i)
        write(path() / name / (std::to_string(i) + ".png"), plain_png(uint8_t(10 * (name[0] - 'a') + i)));
  }
  std::filesystem::path path() const { return folder.path / "train"; }

  std::unique_ptr<DataSource> open(Split split = Split::train, OnCorrupt corrupt = OnCorrupt::skip,
                                   std::filesystem::path of = {}) const {
    const SourceRequest request{.paths = {of.empty() ? path() : of},
                                .split = split,
                                .seed = 3,
                                .batch = layout,
                                .augment = Augment::resized_crop,
                                .corrupt = corrupt,
                                .training = path(),
                                .index = folder.path / "index"};
    prepare_images(request);
    return open_images(request);
  }
};

// What each file shows in an epoch, by the file's place in the index: (label, grey). All pixels are of that grey.
std::vector<std::pair<int32_t, int>> epoch_of(const DataSource& source, const BatchLayout& layout) {
  std::vector<std::pair<int32_t, int>> all(size_t(source.num_samples()));
  for (uint64_t i = 0; i < all.size(); ++i) {
    const Shown sample = shown(source, layout, i)[0];
    CHECK(sample.pixels == std::vector<uint8_t>(75, sample.pixels[0]));
    all[size_t(source.draw(i).sample)] = {sample.label, sample.pixels[0]};
  }
  return all;
}

using Greys = std::vector<std::pair<int32_t, int>>;
const Greys kAll = {{0, 0}, {0, 1}, {0, 2}, {1, 10}, {2, 20}, {2, 21}, {2, 22}, {2, 23}};

}  // namespace

TEST_CASE("an index lists the files by class and by name, in bytes, for any number of threads") {
  const TemporaryFolder folder;
  for (const char* name :
       {"b/10", "b/9", "b/\xc3\xa4", "b/Z", "b/a b", "b/.hidden", "B/x.txt", ".git/x", "top", "b/deep/x"})
    write(folder.path / name, std::string(std::string_view(name).size(), 'x'));
  std::filesystem::create_directory(folder.path / "a");
  write(folder.path / "elsewhere" / "real", "12345");
  std::filesystem::create_symlink(folder.path / "elsewhere", folder.path / "link");
  std::filesystem::create_symlink(folder.path / "elsewhere/real", folder.path / "B/linked");
  REQUIRE(::mkfifo((folder.path / "b/fifo").c_str(), 0600) == 0);
  const std::vector<std::string> classes = class_names(folder.path);
  CHECK(classes == std::vector<std::string>{"B", "a", "b", "elsewhere", "link"});
  int alive = 0;
  const std::string text = index_folder(folder.path, classes, 1, [&] { ++alive; });
  CHECK(alive >= 4);  // once for each folder that holds a file
  CHECK(index_folder(folder.path, classes, 7, [] {}) == text);
  const FolderIndex index(text, "index");
  CHECK(index.num_classes() == 5);
  CHECK(listed(index) == std::vector<std::string>{"B/linked 5 0", "B/x.txt 7 0", "b/10 4 2", "b/9 3 2", "b/Z 3 2",
                                                  "b/a b 5 2", "b/\xc3\xa4 4 2", "elsewhere/real 5 3",
                                                  "link/real 5 4"});
  CHECK(index.first_of(1) == 2);
  CHECK(index.end_of(1) == 2);
  CHECK(index.end_of(2) == 7);
}

TEST_CASE("a folder's fingerprint changes with a name, a size or a class, and not with its place") {
  const auto print_of = [](const std::vector<std::pair<std::string, std::string>>& files) {
    const TemporaryFolder folder;
    for (const auto& [name, text] : files) write(folder.path / name, text);
    return FolderIndex(index_folder(folder.path, class_names(folder.path), kThreads, [] {}), "index").fingerprint();
  };
  const std::string print = print_of({{"a/x", "1"}, {"b/y", "2"}});
  CHECK(print_of({{"b/y", "2"}, {"a/x", "1"}}) == print);
  CHECK(print_of({{"a/x", "11"}, {"b/y", "2"}}) != print);
  CHECK(print_of({{"a/z", "1"}, {"b/y", "2"}}) != print);
  CHECK(print_of({{"a/x", "1"}, {"a/y", "2"}}) != print);
  CHECK(print_of({{"a/x", "1"}, {"c/y", "2"}}) != print);
}

TEST_CASE("a text that is no index is refused") {
  const TemporaryFolder folder;
  write(folder.path / "a/x", "1");
  const std::string text = index_folder(folder.path, class_names(folder.path), kThreads, [] {});
  std::mt19937 random(4);
  for (size_t n = 0; n < text.size(); ++n)
    CHECK(failure_of([&] { FolderIndex(text.substr(0, n), "an/index"); }).code == 65);
  CHECK_THAT(failure_of([&] { FolderIndex(text + "x", "an/index"); }).message, Contains("an/index is no index"));
  for (int i = 0; i < num_mutations(); ++i) {
    const int code = failure_of([&] { listed(FolderIndex(mutated(text, random, kHeader), "index")); }).code;
    CHECK((code == 0 || code == 65));
  }
}

TEST_CASE("images: each epoch shows each file once, with the number of its folder") {
  const Pictures pictures;
  const auto source = pictures.open();
  CHECK(source->num_samples() == 8);
  CHECK(epoch_of(*source, pictures.layout) == kAll);
  CHECK(source->num_corrupt() == 0);
}

TEST_CASE("images: evaluation has each file once, in an order that mixes the classes and stays") {
  const Pictures pictures;
  const auto source = pictures.open(Split::valid);
  Greys order, again;
  for (int64_t i = 0; i < 8; ++i) {
    const Shown sample = shown(*source, pictures.layout, uint64_t(i))[0];
    order.emplace_back(sample.label, sample.pixels[0]);
    again.push_back(kAll[size_t(sample_index(0, 0, i, 8))]);
  }
  CHECK(order == again);
  CHECK(order != kAll);
}

TEST_CASE("images: the classes of evaluation are those of training, of which it may lack some") {
  const Pictures pictures;
  const std::filesystem::path valid = pictures.folder.path / "valid";
  write(valid / "cat/x.png", plain_png(99));
  const auto source = pictures.open(Split::valid, OnCorrupt::skip, valid);
  CHECK(shown(*source, pictures.layout)[0] == Shown{std::vector<uint8_t>(75, 99), 2});
  write(valid / "dog/x.png", plain_png(99));
  const Failure f = failure_of([&] { pictures.open(Split::valid, OnCorrupt::skip, valid); });
  CHECK(f.code == 65);
  CHECK_THAT(f.message, Contains("valid/dog is no class of the training data"));
}

TEST_CASE("images: a corrupt file has the next of its class in its place, and is counted once") {
  const Pictures pictures;
  std::string cut = plain_png(22, 40, 40);
  cut.resize(cut.size() / 2);
  write(pictures.path() / "ant/2.png", "no picture");
  write(pictures.path() / "cat/1.png", "");
  write(pictures.path() / "cat/2.png", cut);
  const auto source = pictures.open();
  Greys expected = kAll;
  expected[2] = {0, 0}, expected[5] = expected[6] = {2, 23};
  for (int i = 0; i < 3; ++i) CHECK(epoch_of(*source, pictures.layout) == expected);
  CHECK(source->num_corrupt() == 3);
}

TEST_CASE("images: any number of workers puts the same pictures in the place of corrupt ones") {
  const Pictures pictures;
  write(pictures.path() / "ant/0.png", "no picture");
  std::vector<std::vector<uint8_t>> first;
  for (const int workers : {1, 2, 5}) {
    const auto source = pictures.open();
    Prefetcher prefetcher(*source, pictures.layout, {.num_workers = workers, .wait = {.timeout_ms = 60'000}});
    std::vector<std::vector<uint8_t>> all;
    for (int i = 0; i < 40; ++i) {
      const std::span<const uint8_t> image = prefetcher.next().batch.values<uint8_t>("image");
      all.emplace_back(image.begin(), image.end());
    }
    if (first.empty()) first = all;
    CHECK(all == first);
    CHECK(source->num_corrupt() == 1);
  }
}

TEST_CASE(
    "images: a class without a sound picture, and any corrupt one where that is to stop the run, end it by name") {
  const Pictures pictures;
  write(pictures.path() / "bee/0.png", "no picture");
  const auto fails = [&](OnCorrupt corrupt) {
    const auto source = pictures.open(Split::valid, corrupt);
    return failure_of([&] {
      for (uint64_t i = 0; i < 8; ++i) shown(*source, pictures.layout, i);
    });
  };
  const Failure all = fails(OnCorrupt::skip), one = fails(OnCorrupt::stop);
  CHECK(all.code == 65);
  CHECK_THAT(all.message, Contains("train/bee: none of the 1 files is a sound picture"));
  CHECK(one.code == 65);
  CHECK_THAT(one.message, Contains("train/bee/0.png: ") && Contains("data.corrupt to skip"));
}

TEST_CASE("images: what is missing, and what the model cannot take, is said with what to do") {
  Pictures pictures;
  const auto failure = [&](const std::filesystem::path& of) {
    return failure_of([&] { pictures.open(Split::train, OnCorrupt::skip, of); });
  };
  CHECK(failure(pictures.folder.path / "none").code == 66);
  const std::filesystem::path empty = pictures.folder.path / "empty";
  std::filesystem::create_directory(empty);
  CHECK(failure(empty).code == 66);
  CHECK_THAT(failure(empty).message, Contains("empty has no folder in it; data.format images takes a folder"));
  std::filesystem::create_directory(empty / "ant");
  CHECK(failure(empty).code == 66);
  CHECK_THAT(failure(empty).message, Contains("empty has no file in its folders"));
  std::filesystem::create_symlink("nowhere", empty / "ant/x.png");
  CHECK(failure(empty).code == 66);
  CHECK_THAT(failure(empty).message, Contains("empty/ant/x.png: No such file"));

  const auto source = pictures.open(Split::valid);
  std::filesystem::remove(pictures.path() / "bee/0.png");
  const Failure gone = failure_of([&] {
    for (uint64_t i = 0; i < 8; ++i) shown(*source, pictures.layout, i);
  });
  CHECK(gone.code == 66);
  CHECK_THAT(gone.message, Contains("train/bee/0.png: No such file"));

  pictures.layout = image_layout(1, 5, 3, 2);
  const Failure classes = failure({});
  CHECK(classes.code == 78);
  CHECK_THAT(classes.message, Contains("train has 3 classes and model.classes is 2; set model.classes to 3"));
  pictures.layout = image_layout(1, 5, 4, 3);
  CHECK(failure({}).code == 78);
}
