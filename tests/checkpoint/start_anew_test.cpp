// model.init_from with a file of another task: heads start anew, all else must match. In f32 and in f16.
#include <array>

#include "runtime/checkpoint/tensor_map.h"
#include "tests/checkpoint/fixture.h"

namespace ddp {
namespace {

using Texts = std::vector<std::string>;

struct PublishedTensor {
  std::string name;
  std::vector<int64_t> shape;
  int value;  // of each element
};

const PublishedTensor kBody = {"body", {4}, 1}, kWeight = {"fc.weight", {5, 3}, 2}, kBias = {"fc.bias", {5}, 3},
                      kQuery = {"attn.q", {2}, 4}, kKey = {"attn.k", {2}, 5};

template <class T>
std::filesystem::path publish(const test::TemporaryFolder& folder, const std::vector<PublishedTensor>& tensors,
                              const std::string& dtype, const std::array<T, 6>& values) {
  std::string header, data;
  for (const PublishedTensor& t : tensors) {
    const size_t begin = data.size();
    const T value = values.at(size_t(t.value));
    int64_t numel = 1;
    std::string shape;
    for (const int64_t dim : t.shape) {
      numel *= dim;
      shape += (shape.empty() ? "" : ",") + std::to_string(dim);
    }
    for (int64_t i = 0; i < numel; ++i) data.append(reinterpret_cast<const char*>(&value), sizeof value);
    header += (header.empty() ? "{\"" : ",\"") + t.name + R"(":{"dtype":")" + dtype + R"(","shape":[)" + shape +
              R"(],"data_offsets":[)" + std::to_string(begin) + "," + std::to_string(data.size()) + "]}";
  }
  const auto path = folder.path / kModelFile;
  test::write_bytes(path, test::safetensors_bytes(header + "}", data));
  return path;
}

// A body, a classifier of 5 classes in padding to 8, and a parameter in two parts, of which all but the body may start
// anew; filled with 9, their initial value, and zeros for padding.
struct Model {
  ParamLayout layout, no_state;
  std::vector<float> params;

  explicit Model(const Texts& may_start_anew = {"fc.weight", "fc.bias", ".q", ".k"}) {
    layout.add("fc.bias", {8}, false, {}, {5});
    layout.add("fc.weight", {8, 3}, true, {}, {5, 3});
    layout.add("qk", {4}, false);
    layout.add("body", {4}, false);
    layout.set_saved_names({.parts = {{.saved = "attn.q", .param = "qk", .num_rows = 2},
                                      {.saved = "attn.k", .param = "qk", .first_row = 2}},
                            .may_start_anew = may_start_anew});
    params.assign(size_t(layout.flat_elements()), 0.0f);
    set("fc.bias", 0, 5, 9), set("fc.weight", 0, 15, 9), set("qk", 0, 4, 9), set("body", 0, 4, 9);
  }
  ModelFlats flats() { return {layout, params.data(), no_state, nullptr}; }
  Model& set(const std::string& name, size_t begin, size_t end, float value) {
    for (const Param& p : layout.params())
      if (p.name == name)
        std::fill(params.begin() + p.offset + int64_t(begin), params.begin() + p.offset + int64_t(end), value);
    return *this;
  }
  // What a file with all of the tensors has.
  Model& set_body() { return set("body", 0, 4, 1); }
  Model& set_weight() { return set("fc.weight", 0, 15, 2); }
  Model& set_bias() { return set("fc.bias", 0, 5, 3); }
  Model& set_parts() { return set("qk", 0, 2, 4).set("qk", 2, 4, 5); }
};

TEST_CASE("a head that a file lacks or has in another shape keeps its values and is named; all else is read") {
  const test::TemporaryFolder folder;
  const std::string dtype = GENERATE("F32", "F16");
  CAPTURE(dtype);
  const auto load = [&](const std::vector<PublishedTensor>& tensors, const Model& expected) {
    const auto path = dtype == "F32"
                          ? publish<float>(folder, tensors, dtype, {0, 1, 2, 3, 4, 5})
                          : publish<uint16_t>(folder, tensors, dtype, {0x0000, 0x3C00, 0x4000, 0x4200, 0x4400, 0x4500});
    Model model;
    const Texts anew = load_model(path, model.flats()).anew;
    CHECK(model.params == expected.params);
    return anew;
  };
  CHECK(load({kBody, kWeight, kBias, kQuery, kKey}, Model().set_body().set_weight().set_bias().set_parts()).empty());
  CHECK(load({kBody, {"fc.weight", {7, 3}, 2}, {"fc.bias", {7}, 3}, kQuery, kKey}, Model().set_body().set_parts()) ==
        Texts{"fc.bias is [7], the model's is [5]", "fc.weight is [7, 3], the model's is [5, 3]"});
  CHECK(load({kBody, kQuery, kKey}, Model().set_body().set_parts()) ==
        Texts{"fc.bias is missing, the model's is [5]", "fc.weight is missing, the model's is [5, 3]"});
  CHECK(load({kBody, kWeight, kQuery, kKey}, Model().set_body().set_weight().set_parts()) ==
        Texts{"fc.bias is missing, the model's is [5]"});
  CHECK(load({kBody, {"fc.weight", {5, 3, 1}, 2}, kBias, kQuery, kKey}, Model().set_body().set_bias().set_parts()) ==
        Texts{"fc.weight is [5, 3, 1], the model's is [5, 3]"});
  // A parameter in parts, as a whole.
  CHECK(load({kBody, kWeight, kBias}, Model().set_body().set_weight().set_bias()) ==
        Texts{"attn.q is missing, the model's is [2]", "attn.k is missing, the model's is [2]"});
  CHECK(load({kBody, kWeight, kBias, {"attn.q", {3}, 4}, {"attn.k", {3}, 5}},
             Model().set_body().set_weight().set_bias()) ==
        Texts{"attn.q is [3], the model's is [2]", "attn.k is [3], the model's is [2]"});
}

TEST_CASE("what may not start anew is refused, and nothing is read, whatever the heads are") {
  const test::TemporaryFolder folder;
  const auto refused = [&](const std::vector<PublishedTensor>& tensors, Model model = Model()) {
    const auto path = publish<float>(folder, tensors, "F32", {0, 1, 2, 3, 4, 5});
    const std::vector<float> before = model.params;
    std::string message;
    CHECK(test::failure([&] { load_model(path, model.flats()); }, &message) == 78);
    CHECK(model.params == before);
    const std::string start = path.string() + " is of another model: ";
    REQUIRE(message.starts_with(start));
    return message.substr(start.size());
  };
  CHECK(refused({kWeight, kBias, kQuery, kKey}) == "body is missing, the model's is [4]");  // heads alone
  CHECK(refused({{"body", {3}, 1}, kQuery, kKey}) == "body is [3], the model's is [4]");
  CHECK(refused({kBody, kWeight, kBias, kQuery, kKey, {"fc.scale", {1}, 1}}) == "fc.scale is unknown to the model");
  // Parts of one parameter.
  CHECK(refused({kBody, kWeight, kBias, kQuery}) == "attn.k is missing, the model's is [2]");
  CHECK(refused({kBody, kWeight, kBias, {"attn.q", {3}, 4}, kKey}) == "attn.q is [3], the model's is [2]");
  CHECK(refused({kBody, kWeight, kBias, {"attn.k", {3}, 5}}) ==
        "attn.q is missing, the model's is [2]; attn.k is [3], the model's is [2]");
  CHECK(refused({kBody, kWeight, kBias}, Model(Texts{"attn.q"})) ==
        "attn.q is missing, the model's is [2]; attn.k is missing, the model's is [2]");
  CHECK(refused({kBody, kQuery, kKey}, Model(Texts())) ==
        "fc.bias is missing, the model's is [5]; fc.weight is missing, the model's is [5, 3]");
}

TEST_CASE("a run's own checkpoint matches exactly, heads too") {
  const test::TemporaryFolder folder;
  Model written;
  const auto checkpoint = write_checkpoint(folder.path, {written.flats(), {}, {}}, 1).checkpoint.path;
  Model read;
  read.params.assign(read.params.size(), 7.0f);
  load_checkpoint_model(checkpoint, read.flats());
  CHECK(read.params == written.params);

  ParamLayout other;  // of 6 classes
  other.add("fc.bias", {8}, false, {}, {6});
  other.add("fc.weight", {8, 3}, true, {}, {6, 3});
  for (size_t i = 2; i < 4; ++i) other.add(written.layout.params()[i].name, {4}, false);
  other.set_saved_names(written.layout.saved_names());
  std::vector<float> params(size_t(other.flat_elements()));
  const ModelFlats flats = {other, params.data(), written.no_state, nullptr};
  CHECK(load_model(checkpoint, flats).anew.size() == 2);
  const std::string why = (checkpoint / kModelFile).string() +
                          " is of another model: fc.bias is [5], the model's is [6]; fc.weight is [5, 3], the "
                          "model's is [6, 3]";
  std::string message;
  CHECK(test::failure([&] { load_checkpoint_model(checkpoint, flats); }, &message) == 78);
  CHECK(message == why);
  CHECK(test::failure([&] { load_checkpoint(checkpoint, flats, {}); }, &message) == 78);
  CHECK(message == why);
}

TEST_CASE("of many differences the first three are told, and how many more") {
  CHECK(shortened({"a"}) == "a");
  CHECK(shortened({"a", "b", "c"}) == "a; b; c");
  CHECK(shortened({"a", "b", "c", "d", "e"}) == "a; b; c; and 2 more");
}

}  // namespace
}  // namespace ddp
