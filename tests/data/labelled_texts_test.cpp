// Texts with labels: what a sample shows of the file, and one clear error for each way in which the file can be wrong.
#include "runtime/data/labelled_texts.h"

#include <catch2/catch.hpp>
#include <functional>
#include <set>

#include "runtime/data/sampler.h"
#include "tests/data/token_bytes.h"
#include "tests/support/failure.h"
#include "tests/support/mutated.h"
#include "tests/support/safetensors_bytes.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Contains;

namespace {

// Three texts of 1, 3 and 2 tokens; what is behind them is never shown.
std::vector<IntTensor> three_texts() {
  return {{"tokens", {3, 4}, {7, -1, 99, 99, 5, 6, 9, 99, 8, 0, 99, 99}},
          {"types", {3, 4}, {0, 9, 9, 9, 0, 1, 1, 9, 1, 0, 9, 9}},
          {"lengths", {3}, {1, 3, 2}},
          {"labels", {3}, {0, 2, 1}}};
}

BatchLayout layout_of(int64_t context, int64_t batch = 1, int64_t vocab = 10, int64_t types = 2, int64_t classes = 3) {
  return {{{.name = "tokens", .sample = {context}, .limit = vocab},
           {.name = "types", .sample = {context}, .limit = types},
           {.name = "lengths", .sample = {}},
           {.name = "label", .sample = {}, .limit = classes, .is_target = true}},
          batch};
}

struct Shown {
  std::vector<int32_t> tokens, types;
  int32_t length, label;
  bool operator==(const Shown&) const = default;
};

std::vector<Shown> shown(const DataSource& source, const BatchLayout& layout, uint64_t first = 0) {
  HostBatch batch(layout);
  std::ranges::fill(batch.bytes(), std::byte{0x5A});
  source.fill(batch, first);
  std::vector<Shown> all;
  for (int64_t i = 0; i < layout.num_samples(); ++i) {
    const std::span<int32_t> tokens = batch.sample<int32_t>("tokens", i), types = batch.sample<int32_t>("types", i);
    all.push_back({{tokens.begin(), tokens.end()},
                   {types.begin(), types.end()},
                   batch.sample<int32_t>("lengths", i)[0],
                   batch.sample<int32_t>("label", i)[0]});
  }
  return all;
}

struct Case {
  TemporaryFolder folder;
  std::filesystem::path path = folder.path / "sst2.safetensors";

  void write(const std::string& bytes) const { write_file(path, std::as_bytes(std::span(bytes))); }
  std::unique_ptr<DataSource> open(const BatchLayout& layout, Split split = Split::valid) const {
    return open_labelled({.paths = {path}, .split = split, .seed = 5, .batch = layout});
  }
  Failure failure(const BatchLayout& layout) const {
    return failure_of([&] { open(layout); });
  }
};

}  // namespace

TEST_CASE("labelled: a sample is as many tokens and types as its text has, then 0") {
  const Case c;
  c.write(safetensors_bytes(three_texts()));
  for (const int64_t context : {3, 4, 7, 33}) {
    INFO("T " << context);
    const BatchLayout layout = layout_of(context, 3);
    const auto source = c.open(layout);
    CHECK(source->num_samples() == 3);
    const auto padded = [&](std::vector<int32_t> values) {
      values.resize(size_t(context));
      return values;
    };
    CHECK(shown(*source, layout) == std::vector<Shown>{{padded({7}), padded({0}), 1, 0},
                                                       {padded({5, 6, 9}), padded({0, 1, 1}), 3, 2},
                                                       {padded({8, 0}), padded({1, 0}), 2, 1}});
  }
}

TEST_CASE("labelled: training shows the texts in the sampler's order") {
  const Case c;
  c.write(safetensors_bytes(three_texts()));
  const BatchLayout layout = layout_of(5, 1);
  const auto source = c.open(layout, Split::train);
  const std::vector<int32_t> labels = {0, 2, 1};
  for (uint64_t p = 0; p < 30; ++p)
    CHECK(shown(*source, layout, p)[0].label == labels[size_t(sample_index(5, p / 3, int64_t(p % 3), 3))]);
}

TEST_CASE("labelled: tensors stand in any order, and others are passed over") {
  const Case c;
  const BatchLayout layout = layout_of(4, 3);
  c.write(safetensors_bytes(three_texts()));
  const std::vector<Shown> expected = shown(*c.open(layout), layout);
  const std::string print = c.open(layout)->fingerprint();
  std::vector<IntTensor> tensors = three_texts();
  std::ranges::reverse(tensors);
  tensors.push_back({"scores", {2}, {1, 2}, "F32"});
  c.write(safetensors_bytes(tensors));
  CHECK(shown(*c.open(layout), layout) == expected);
  CHECK(c.open(layout)->fingerprint() == print);
}

TEST_CASE("labelled: the texts of several files follow one another, whatever their widths") {
  const Case c;
  const auto other = c.folder.path / "more.safetensors";
  const std::string more = safetensors_bytes({{"tokens", {2, 6}, {1, 2, 3, 4, 5, 9, 6, 99, 99, 99, 99, 99}},
                                              {"types", {2, 6}, {0, 0, 1, 1, 1, 9, 1, 9, 9, 9, 9, 9}},
                                              {"lengths", {2}, {5, 1}},
                                              {"labels", {2}, {1, 0}}});
  c.write(safetensors_bytes(three_texts()));
  write_file(other, std::as_bytes(std::span(more)));
  const BatchLayout layout = layout_of(5, 5);
  const auto open = [&](std::vector<std::filesystem::path> paths) {
    return open_labelled({.paths = std::move(paths), .split = Split::valid, .batch = layout});
  };
  const Shown a[] = {{{7, 0, 0, 0, 0}, {0, 0, 0, 0, 0}, 1, 0},
                     {{5, 6, 9, 0, 0}, {0, 1, 1, 0, 0}, 3, 2},
                     {{8, 0, 0, 0, 0}, {1, 0, 0, 0, 0}, 2, 1}};
  const Shown b[] = {{{1, 2, 3, 4, 5}, {0, 0, 1, 1, 1}, 5, 1}, {{6, 0, 0, 0, 0}, {1, 0, 0, 0, 0}, 1, 0}};
  CHECK(shown(*open({c.path, other}), layout) == std::vector<Shown>{a[0], a[1], a[2], b[0], b[1]});
  CHECK(shown(*open({other, c.path}), layout) == std::vector<Shown>{b[0], b[1], a[0], a[1], a[2]});
  CHECK(open({c.path, other})->fingerprint() != open({other, c.path})->fingerprint());
}

TEST_CASE("labelled: a file of another kind is named") {
  const Case c;
  for (const auto& [bytes, kind] :
       {std::pair<std::string, const char*>{std::string("\x1f\x8b\x08\0abc", 7), "a gzip archive"},
        {std::string("PK\3\4\0\0\0\0", 8), "a zip archive"},
        {std::string("\x80\2}q\0(abcdefgh", 14), "a pickle"},
        {"<!doctype html><html>", "a web page"},
        {"sentence\tlabel\nthe rock is\t1\n", "plain text"},
        {"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"}}) {
    c.write(bytes);
    const Failure f = c.failure(layout_of(4));
    CHECK(f.code == 65);
    CHECK_THAT(f.message, Contains("sst2.safetensors is ") && Contains(kind));
  }
}

TEST_CASE("labelled: a file with a header as long as a gzip archive's first bytes say is read") {
  const Case c;
  const BatchLayout layout = layout_of(4);
  const std::string bytes = safetensors_bytes(three_texts());
  constexpr size_t kLength = 0x88b1f;
  const std::string header = bytes.substr(8, bytes.rfind('}') - 7);
  const std::string data = bytes.substr(8 + header.size());
  for (const bool is_before : {false, true}) {  // white space, which may be on either side
    std::string longer = header;
    longer.insert(is_before ? 0 : longer.size(), kLength - header.size(), ' ');
    c.write(safetensors_bytes(longer, data));
    CHECK(shown(*c.open(layout), layout).front().length == 1);
  }
}

TEST_CASE("labelled: the fingerprint notices another value in any tensor") {
  const Case c;
  const BatchLayout layout = layout_of(4);
  std::set<std::string> prints;
  for (size_t changed = 0; changed < 5; ++changed) {
    std::vector<IntTensor> tensors = three_texts();
    if (changed < 4) tensors[changed].values[1] = 1;
    c.write(safetensors_bytes(tensors));
    prints.insert(c.open(layout)->fingerprint());
  }
  CHECK(prints.size() == 5);
  CHECK_THAT(*prints.begin(), Contains("3 texts of up to 4 tokens, xxh3 "));
}

TEST_CASE("labelled: a file that does not fit is refused, by sample and by tensor") {
  const Case c;
  using Change = std::function<void(std::vector<IntTensor>&)>;
  struct Wrong {
    Change change;
    int code;
    const char* says;
  };
  const auto value = [](size_t tensor, size_t at, int32_t to) {
    return [=](std::vector<IntTensor>& t) { t[tensor].values[at] = to; };
  };
  const auto shape = [](size_t tensor, const std::vector<int64_t>& to) {
    return [=](std::vector<IntTensor>& t) { t[tensor].shape = to; };
  };
  const auto without = [](size_t tensor) {
    return [=](std::vector<IntTensor>& t) { t.erase(t.begin() + std::ptrdiff_t(tensor)); };
  };
  const std::vector<Wrong> cases = {
      {without(0), 65, "has no tensor tokens; data.format labelled takes I32 tensors: tokens (N,W), types (N,W)"},
      {without(1), 65, "has no tensor types;"},
      {without(2), 65, "has no tensor lengths;"},
      {without(3), 65, "has no tensor labels;"},
      {shape(0, {12}), 65, "tensor tokens has the shape [12], and not that of N texts of W tokens"},
      {shape(0, {3, 2, 2}), 65, "tensor tokens has the shape [3, 2, 2], and"},
      {shape(1, {4, 3}), 65, "tensor types has the shape [4, 3], beside these tokens it is [3, 4]"},
      {shape(2, {3, 1}), 65, "tensor lengths has the shape [3, 1], beside these tokens it is [3]"},
      {shape(3, {1, 3}), 65, "tensor labels has the shape [1, 3], beside these tokens it is [3]"},
      {shape(0, {2, 6}), 65, "tensor types has the shape [3, 4], beside these tokens it is [2, 6]"},
      {[](std::vector<IntTensor>& t) {
         t[0].shape = {0, 4}, t[0].values = {};
       },
       65, "has the shape [0, 4], and"},
      {[](std::vector<IntTensor>& t) {
         t[0].shape = {3, 0}, t[0].values = {};
       },
       65, "has the shape [3, 0], and"},
      {[](std::vector<IntTensor>& t) { t[1].dtype = "F32"; }, 65, "tensor types is F32; I32 can be loaded"},
      {[](std::vector<IntTensor>& t) { t[3].dtype = "U32"; }, 65, "tensor labels is U32; I32 can be loaded"},
      {value(2, 1, 0), 65, "sample 1 has length 0, of at most 4; a text has 1 token or more"},
      {value(2, 2, -1), 65, "sample 2 has length -1, of at most 4"},
      {value(2, 0, 5), 65, "sample 0 has length 5, of at most 4"},
      {value(2, 0, INT32_MAX), 65, "sample 0 has length 2147483647, of at most 4"},
      {value(0, 6, 10), 65, "sample 1 has token 10 at 2, not from 0 to 9; is the file of another tokenizer"},
      {value(0, 0, -1), 65, "sample 0 has token -1 at 0, not from 0 to 9"},
      {value(1, 9, 2), 65, "sample 2 has type 2 at 1, not from 0 to 1"},
      {value(1, 9, -1), 65, "sample 2 has type -1 at 1, not from 0 to 1"},
      {value(3, 1, 3), 65, "sample 1 has label 3, not below model.classes 3; set model.classes to"},
      {value(3, 0, -1), 65, "sample 0 has label -1, not below model.classes 3"},
  };
  for (const Wrong& wrong : cases) {
    INFO(wrong.says);
    std::vector<IntTensor> tensors = three_texts();
    wrong.change(tensors);
    c.write(safetensors_bytes(tensors));
    const Failure f = c.failure(layout_of(4));
    INFO(f.message);
    CHECK(f.code == wrong.code);
    CHECK_THAT(f.message, Contains(wrong.says) && Contains("sst2.safetensors"));
  }
  c.write(safetensors_bytes(three_texts()));
  const Failure longer = c.failure(layout_of(2));
  CHECK(longer.code == 78);
  CHECK_THAT(longer.message,
             Contains("sample 1 has 3 tokens, and model.context is 2; model.context must be at least 3"));
  c.write("no tensors");
  CHECK(c.failure(layout_of(4)).code == 65);
  c.write(safetensors_bytes({}));
  CHECK(c.failure(layout_of(4)).code == 65);
  std::filesystem::remove(c.path);
  CHECK(c.failure(layout_of(4)).code == 66);
}

TEST_CASE("labelled: a file of more than 2 GiB is refused before it is read") {
  const Case c;
  const std::string header = R"({"tokens":{"dtype":"I32","shape":[3,4],"data_offsets":[0,48]},)"
                             R"("more":{"dtype":"U8","shape":[2147483601],"data_offsets":[48,2147483649]}})";
  c.write(safetensors_bytes(header, ""));
  std::filesystem::resize_file(c.path, 8 + header.size() + 2147483649);  // sparse
  const Failure f = c.failure(layout_of(4));
  CHECK(f.code == 65);
  CHECK_THAT(f.message, Contains("holds 2147483649 bytes, and data.format labelled reads at most 2147483648"));
}

TEST_CASE("labelled: files of any bytes are read or refused") {
  const Case c;
  const std::string good = safetensors_bytes(three_texts());
  const std::vector<std::string> words = {"I32",      "F32",   "[",     "]",         "{",          "}",
                                          ",",        "0",     "3",     "\"types\"", "\"labels\"", "4,3",
                                          "\xff\xff", "[3,4]", "[0,0]", "null",      "-1",         "[6,2]"};
  const BatchLayout layout = layout_of(4, 3);
  int num_read = 0;
  for (int i = 0; i < 10 * num_mutations(); ++i) {
    std::mt19937 random{unsigned(i)};
    // Half of them have a sound header, so that what follows is reached.
    std::string bytes = mutated(good, random, {.words = words});
    if (i % 2 == 0) {
      const size_t data = good.size() - 30 * sizeof(int32_t);
      bytes = good.substr(0, data) + mutated(good.substr(data), random);
      bytes.resize(good.size());
    }
    c.write(bytes);
    const Failure f = failure_of([&] {
      const auto source = c.open(layout);
      for (const Shown& sample : shown(*source, layout)) {
        REQUIRE((sample.length >= 1 && sample.length <= 4 && sample.label >= 0 && sample.label < 3));
        for (const int32_t token : sample.tokens) REQUIRE((token >= 0 && token < 10));
        for (const int32_t type : sample.types) REQUIRE((type >= 0 && type < 2));
      }
      ++num_read;
    });
    if ((f.code != 0 && f.code != 65 && f.code != 78) || f.message.find('\n') != std::string::npos)
      FAIL(f.code << ": " << f.message);
  }
  CHECK(num_read > num_mutations() / 10);
  CHECK(num_read < 9 * num_mutations());
}
