// model.init_from: safetensors files in shards beside an index, of which no word is believed.
#include <fmt/core.h>

#include <random>

#include "runtime/state/tensor_files.h"
#include "tests/checkpoint/fixture.h"
#include "tests/support/mutated.h"

namespace ddp {
namespace {

constexpr const char* kIndex = "model.safetensors.index.json";
const float kValues[] = {1, 2, 3, 4, 5};  // two for each of the tensors a to d

struct Shards {
  test::TemporaryFolder folder;
  std::filesystem::path index = folder.path / kIndex;

  Shards() {
    write("1.safetensors", {"a", "b"});
    write("2.safetensors", {"c"});
    write_map(R"({"a": "1.safetensors", "b": "1.safetensors", "c": "2.safetensors"})");
  }
  void write(const std::string& name, const std::vector<std::string>& tensors) const {
    std::vector<TensorToSave> all;
    for (const std::string& tensor : tensors) all.push_back({tensor, {2}, kValues + (tensor[0] - 'a')});
    write_safetensors(folder.path / name, all);
  }
  void write_map(const std::string& map) const {
    test::write_bytes(index,
                      R"({"metadata": {"total_size": 24, "x": [[], {"weight_map": 1}]}, "weight_map": )" + map + "}");
  }
  std::string error(int code) const {
    std::string message;
    CHECK(test::failure([&] { TensorFiles::open(folder.path); }, &message) == code);
    CHECK(message.find('\n') == std::string::npos);
    CHECK(message.size() < 500);
    return message;
  }
  std::string at(const std::string& name) const { return (folder.path / name).string(); }
};

TEST_CASE("shards are read as one file, from their folder or by their index") {
  const Shards shards;
  for (const auto& named : {shards.folder.path, shards.index}) {
    const TensorFiles files = TensorFiles::open(named);
    CHECK(files.path() == shards.index);
    REQUIRE(files.tensors().size() == 3);
    for (const FiledTensor& t : files.tensors()) {
      std::vector<float> values(2);
      t.read_f32(values);
      CHECK(values[1] == float(t.name()[0] - 'a' + 2));
    }
    ParamLayout layout, no_state;
    for (const char* name : {"c", "a", "b"}) layout.add(name, {2}, true);
    std::vector<float> params(size_t(layout.flat_elements()));
    CHECK(load_model(named, {layout, params.data(), no_state, nullptr}).notes.empty());
    CHECK(params[size_t(layout.params()[0].offset)] == 3);
    layout.add("d", {2}, true);
    params.resize(size_t(layout.flat_elements()));
    std::string message;
    CHECK(test::failure([&] { load_model(named, {layout, params.data(), no_state, nullptr}); }, &message) == 78);
    CHECK(message == shards.index.string() + " is of another model: d is missing, the model's is [2]");
  }
  // One file goes before shards.
  shards.write(kModelFile, {"a"});
  CHECK(TensorFiles::open(shards.folder.path).tensors().size() == 1);
}

TEST_CASE("shards that do not hold what their index says are refused by their names") {
  const Shards shards;
  const std::string index = shards.index.string();
  std::filesystem::remove(shards.at("2.safetensors"));
  CHECK(shards.error(66) == "cannot open " + shards.at("2.safetensors") + ": No such file or directory");
  shards.write("2.safetensors", {"d"});
  CHECK(shards.error(65) == shards.at("2.safetensors") + " holds \"d\", which " + index + " does not name");
  shards.write("2.safetensors", {"c", "a"});
  CHECK(shards.error(65) == shards.at("2.safetensors") + " holds \"a\", which " + index + " puts into 1.safetensors");
  shards.write("2.safetensors", {});
  CHECK(shards.error(65) == shards.at("2.safetensors") + " does not hold \"c\", which " + index + " puts there");
  test::write_bytes(shards.at("2.safetensors"), "version https://git-lfs.github.com/spec/v1\n");
  CHECK(shards.error(65).find("2.safetensors is not a valid safetensors file: it is a Git LFS pointer") !=
        std::string::npos);
}

TEST_CASE("an index that is malformed, or names what lies elsewhere, is refused in one line") {
  const Shards shards;
  const std::string start = shards.index.string() + " is not a valid index of safetensors files: ";
  const auto refused = [&](const std::string& text) {
    test::write_bytes(shards.index, text);
    const std::string message = shards.error(65);
    CHECK(message.starts_with(start));
    return message.substr(std::min(message.size(), start.size()));
  };
  for (const std::string shard :
       {"../1.safetensors", "/etc/passwd", "x/1.safetensors", "..", ".", "", R"(a\nb)", R"(a\u0000)"})
    CHECK(refused(R"({"weight_map": {"a": ")" + shard + "\"}}").find("which is no name of a file beside it") !=
          std::string::npos);
  CHECK(refused(R"({"weight_map": {"a": "1", "a": "2"}})") == "it puts \"a\" into 1 and into 2");
  for (const char* value : {"1", "null", "{}", "[]", "true", "-1", "1.5"}) {
    CHECK(refused(fmt::format(R"({{"weight_map": {{"a": {}}}}})", value)) ==
          "it puts \"a\" into what is no name of a file");
    if (value != std::string("{}"))
      CHECK(refused(fmt::format(R"({{"weight_map": {}}})", value)) == "its weight_map is no object");
  }
  CHECK(refused(R"({"weight_map": {}, "weight_map": {}})") == "it has two weight_map");
  CHECK(refused(R"({"metadata": {"weight_map": {}}})") == "it has no weight_map");
  CHECK(refused(R"({"error": "Repository not found"})") == "it has no weight_map");
  CHECK(refused(R"({"weight_map": {"a": "1)").starts_with("it is no valid JSON"));
  CHECK(refused(R"({"x": )" + std::string(1'000'000, '[')).starts_with("it is no valid JSON"));
  CHECK(refused(R"({"weight_map": )" + std::string(1'000'000, '{')).starts_with("it is no valid JSON"));
  CHECK(refused(R"({"weight_map": {"a)" + std::string(4 << 20, 'n') + R"(": 1}})").find("no name of a file") !=
        std::string::npos);
  CHECK(refused("{" + std::string(1'000, ' ') + "}" + std::string("\0", 1)) == "it has a zero byte");
}

TEST_CASE("mutated indexes are refused with 65 or 66, or are those of the shards") {
  const Shards shards;
  const std::string valid = read_text(shards.index);
  std::mt19937 random(20261127);
  const std::vector<std::string> words = {
      "{", "}", "[", ",", "/", "..", "\"a\"", "\"1.safetensors\"", "\"weight_map\""};
  int accepted = 0, refused = 0;
  for (int round = 0; round < 1000; ++round) {
    test::write_bytes(shards.index, test::mutated(valid, random, {.words = words}));
    size_t num_tensors = 0;
    const int code = test::failure([&] { num_tensors = TensorFiles::open(shards.index).tensors().size(); });
    CHECK((code == -1 ? num_tensors == 3 : code == 65 || code == 66));
    ++(code == -1 ? accepted : refused);
  }
  CHECK(accepted > 10);
  CHECK(refused > 100);
}

}  // namespace
}  // namespace ddp
