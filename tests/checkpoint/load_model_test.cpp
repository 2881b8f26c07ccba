// model.init_from: published files in Hugging Face's names.
#include "models/gpt2/options/options.h"
#include "tests/checkpoint/fixture.h"

namespace ddp {
namespace {

const float kOnes[64] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                         1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                         1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

struct Model {
  ParamLayout layout, no_state;
  std::vector<float> params;

  Model() {
    layout.add("h.0.attn.c_attn.bias", {9}, false);
    layout.add("wte.weight", {8, 3}, true, {}, {5, 3});
    layout.set_saved_names(gpt2::saved_names({}));
    params.assign(size_t(layout.flat_elements()), 9.0f);
  }
  ModelFlats flats() { return {layout, params.data(), no_state, nullptr}; }
  float sum() const {
    float total = 0;
    for (float x : params) total += x;
    return total;
  }
};

// A file with `prefix` before the two parameters, and `more`.
std::filesystem::path published(const test::TemporaryFolder& folder, const std::string& prefix,
                                const std::vector<TensorToSave>& more) {
  std::vector<TensorToSave> tensors = {{prefix + "h.0.attn.c_attn.bias", {9}, kOnes},
                                       {prefix + "wte.weight", {5, 3}, kOnes}};
  tensors.insert(tensors.end(), more.begin(), more.end());
  const auto path = folder.path / kModelFile;
  write_safetensors(path, tensors);
  return path;
}

TEST_CASE("a published model loads with and without prefix, mask buffers and tied head passed over") {
  test::TemporaryFolder folder;
  for (const std::string prefix : {"", "transformer."}) {
    const auto path = published(folder, prefix,
                                {{prefix + "h.0.attn.bias", {1, 1, 4, 4}, kOnes},
                                 {prefix + "h.0.attn.masked_bias", {}, kOnes},
                                 {"lm_head.weight", {5, 3}, kOnes}});
    Model model;
    load_model(path, model.flats());
    CHECK(model.sum() == 24.0f);  // 9 + 15 ones, zeros in all padding
    Model by_folder;
    load_model(folder.path, by_folder.flats());
    CHECK(by_folder.params == model.params);
  }
}

TEST_CASE("an untied head is loaded like any parameter") {
  test::TemporaryFolder folder;
  Model model;
  model.layout.add("lm_head.weight", {8, 3}, true, {}, {5, 3});
  model.layout.set_saved_names(gpt2::saved_names({.tie_embeddings = false}));
  model.params.assign(size_t(model.layout.flat_elements()), 9.0f);
  load_model(published(folder, "transformer.", {{"lm_head.weight", {5, 3}, kOnes}}), model.flats());
  CHECK(model.sum() == 39.0f);
  std::string message;
  const auto without = published(folder, "", {});
  CHECK(test::failure([&] { load_model(without, model.flats()); }, &message) == 78);
  CHECK(message == without.string() + " is of another model: lm_head.weight is missing, the model's is [5, 3]");
}

TEST_CASE("missing, misshapen and unknown tensors are named, and the rest counted") {
  test::TemporaryFolder folder;
  const auto path = folder.path / "other.safetensors";
  write_safetensors(path,
                    std::vector<TensorToSave>{{"wte.weight", {3, 5}, kOnes}, {"x", {1}, kOnes}, {"y", {1}, kOnes}});
  Model model;
  std::string message;
  CHECK(test::failure([&] { load_model(path, model.flats()); }, &message) == 78);
  CHECK(message == path.string() +
                       " is of another model: h.0.attn.c_attn.bias is missing, the model's is [9]; wte.weight is "
                       "[3, 5], the model's is [5, 3]; x is unknown to the model; and 1 more");
  CHECK(model.params == Model().params);
}

TEST_CASE("a name with and without prefix in one file is refused") {
  test::TemporaryFolder folder;
  const auto path = published(folder, "", {{"transformer.wte.weight", {5, 3}, kOnes}});
  Model model;
  CHECK(test::failure([&] { load_model(path, model.flats()); }) == 78);
}

}  // namespace
}  // namespace ddp
