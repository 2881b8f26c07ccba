// How parameters appear outside: parts, permutations, padding, names of others. Both directions, to the bit.
#include "runtime/checkpoint/tensor_map.h"
#include "tests/checkpoint/fixture.h"

namespace ddp {
namespace {

const ParamLayout kNoState;

// A model with each of the forms.
ParamLayout made_up_layout() {
  ParamLayout layout;
  // Computed with as (in, out) = (4, 3 x 2), saved as q, k and v of (out, in) = (2, 4).
  layout.add("qkv.weight", {4, 6}, true);
  layout.add("qkv.bias", {6}, false);
  // KRSC with 3 of 4 input and 5 of 8 output channels, saved as OIHW.
  layout.add("conv.weight", {8, 3, 2, 4}, true, {}, {5, 3, 2, 3});
  layout.add("cube", {3, 4, 5}, false, {}, {2, 3, 4});
  layout.add("wte.weight", {8, 3}, true, {}, {5, 3});
  layout.add("plain", {7}, false);
  layout.set_saved_names(
      {.parts =
           {{.saved = "attn.q.weight", .param = "qkv.weight", .num_rows = 2, .permutation = {1, 0}},
            {.saved = "attn.v.weight", .param = "qkv.weight", .first_row = 4, .permutation = {1, 0}},
            {.saved = "attn.k.weight", .param = "qkv.weight", .first_row = 2, .num_rows = 2, .permutation = {1, 0}},
            {.saved = "attn.q.bias", .param = "qkv.bias", .num_rows = 2},
            {.saved = "attn.k.bias", .param = "qkv.bias", .first_row = 2, .num_rows = 2},
            {.saved = "attn.v.bias", .param = "qkv.bias", .first_row = 4, .num_rows = 2},
            {.saved = "stem.weight", .param = "conv.weight", .permutation = {0, 3, 1, 2}},
            {.saved = "embeddings.word", .param = "wte.weight"}},
       .prefixes = {"made_up."},
       .aliases = {{.theirs = "stem.kernel", .saved = "stem.weight"}},
       .buffers = {{".position_ids", {1}}},
       .other_heads = {"decoder.weight"}});
  return layout;
}

const Param& find(const ParamLayout& layout, const std::string& name) {
  for (const Param& p : layout.params())
    if (p.name == name) return p;
  throw std::logic_error(name);
}

// A flat buffer whose live elements are 1, 2, 3, ... in memory order, and its padding 0.
std::vector<float> numbered(const ParamLayout& layout) {
  std::vector<float> flat(static_cast<size_t>(layout.flat_elements()));
  float next = 0;
  for (const Param& p : layout.params())
    for (int64_t i = 0; i < p.numel; ++i) {
      bool is_live = true;
      for (int64_t d = p.shape.rank - 1, rest = i; d >= 0; rest /= p.shape[int(d)], --d)
        is_live &= rest % p.shape[int(d)] < p.live[int(d)];
      if (is_live) flat[size_t(p.offset + i)] = ++next;
    }
  return flat;
}

std::vector<float> values_of(const SafetensorsReader& file, const std::string& name,
                             const std::vector<int64_t>& shape) {
  for (const SavedTensor& t : file.tensors())
    if (t.name == name) {
      CHECK(t.shape == shape);
      std::vector<float> values(static_cast<size_t>(t.numel()));
      file.read_f32(t, values);
      return values;
    }
  FAIL("no " << name);
  return {};
}

TEST_CASE("every form of saved names comes back bit for bit, with zeros for padding") {
  const test::TemporaryFolder folder;
  const ParamLayout layout = made_up_layout();
  const std::vector<float> flat = numbered(layout);
  const auto path = folder.path / "model.safetensors";
  write_safetensors(path, tensors_to_save(layout, flat.data(), "x."));
  std::vector<float> loaded(flat.size(), 9.0f);
  load_tensors(SafetensorsReader(path), wanted_tensors(layout, loaded.data(), "x."));
  CHECK(loaded == flat);

  const auto again = folder.path / "again.safetensors";
  write_safetensors(again, tensors_to_save(layout, loaded.data(), "x."));
  CHECK(read_text(again) == read_text(path));
}

TEST_CASE("padding of any dimension is not saved, whatever it holds") {
  const test::TemporaryFolder folder;
  const ParamLayout layout = made_up_layout();
  const std::vector<float> clean = numbered(layout);
  std::vector<float> dirty = clean;
  for (float& x : dirty)
    if (x == 0.0f) x = 1e9f;
  write_safetensors(folder.path / "a", tensors_to_save(layout, clean.data(), ""));
  write_safetensors(folder.path / "b", tensors_to_save(layout, dirty.data(), ""));
  CHECK(read_text(folder.path / "a") == read_text(folder.path / "b"));
}

TEST_CASE("parts and permutations are what the outside expects") {
  const test::TemporaryFolder folder;
  const ParamLayout layout = made_up_layout();
  const std::vector<float> flat = numbered(layout);
  write_safetensors(folder.path / "m", tensors_to_save(layout, flat.data(), ""));
  const SafetensorsReader file(folder.path / "m");
  CHECK(file.tensors().size() == 10);

  const float* qkv = flat.data() + find(layout, "qkv.weight").offset;  // (4, 6)
  const std::vector<float> k = values_of(file, "attn.k.weight", {2, 4});
  for (size_t out = 0; out < 2; ++out)
    for (size_t in = 0; in < 4; ++in) CHECK(k[out * 4 + in] == qkv[in * 6 + 2 + out]);
  const float* bias = flat.data() + find(layout, "qkv.bias").offset;
  CHECK(values_of(file, "attn.v.bias", {2}) == std::vector<float>{bias[4], bias[5]});

  const float* conv = flat.data() + find(layout, "conv.weight").offset;  // (8, 3, 2, 4)
  const std::vector<float> oihw = values_of(file, "stem.weight", {5, 3, 3, 2});
  size_t at = 0;
  for (size_t o = 0; o < 5; ++o)
    for (size_t i = 0; i < 3; ++i)
      for (size_t h = 0; h < 3; ++h)
        for (size_t w = 0; w < 2; ++w) CHECK(oihw[at++] == conv[((o * 3 + h) * 2 + w) * 4 + i]);

  const float* cube = flat.data() + find(layout, "cube").offset;  // (3, 4, 5)
  const std::vector<float> live = values_of(file, "cube", {2, 3, 4});
  CHECK(live[(1 * 3 + 2) * 4 + 3] == cube[(1 * 4 + 2) * 5 + 3]);
  CHECK(values_of(file, "embeddings.word", {5, 3}).size() == 15);
  CHECK(values_of(file, "plain", {7}).size() == 7);
}

TEST_CASE("a published file may use prefixes and aliases, and hold what is passed over, integers among it") {
  const test::TemporaryFolder folder;
  const ParamLayout layout = made_up_layout();
  const std::vector<float> flat = numbered(layout);
  for (const std::string prefix : {"", "made_up.", "module.made_up."}) {
    std::vector<TensorToSave> tensors = tensors_to_save(layout, flat.data(), prefix);
    for (TensorToSave& t : tensors)
      if (t.name == prefix + "stem.weight") t.name = prefix + "stem.kernel";
    const float zeros[15] = {};
    tensors.push_back({"decoder.weight", {5, 3}, zeros});  // tied
    const auto path = folder.path / kModelFile;
    write_safetensors(path, tensors);
    // The same bytes as another type, which no parameter can be read from.
    std::string bytes = read_text(path);
    const std::string f32 = R"({"dtype":"F32","shape":[5,3])";
    const size_t entry = bytes.find(R"("decoder.weight")");
    REQUIRE(entry != std::string::npos);
    const size_t at = bytes.find(f32, entry);
    bytes.replace(at, f32.size(), R"({"dtype":"I32","shape":[5,3])");
    test::write_bytes(path, bytes);

    std::vector<float> loaded(flat.size(), 9.0f);
    load_model(folder.path, {layout, loaded.data(), kNoState, nullptr});
    CHECK(loaded == flat);
    // A checkpoint of one's own is of one form.
    CHECK(test::failure([&] { load_tensors(SafetensorsReader(path), wanted_tensors(layout, loaded.data(), "")); }) ==
          78);
  }
}

TEST_CASE("a tensor of a published file that is passed over is so by the end of its name, or by its whole name") {
  const test::TemporaryFolder folder;
  const ParamLayout layout = made_up_layout();
  const std::vector<float> flat = numbered(layout);
  const float zero[1] = {};
  const auto load_with = [&](const std::string& name) {
    std::vector<TensorToSave> tensors = tensors_to_save(layout, flat.data(), "");
    tensors.push_back({name, {1}, zero});
    write_safetensors(folder.path / "m", tensors);
    std::vector<float> loaded(flat.size());
    return test::failure([&] { load_model(folder.path / "m", {layout, loaded.data(), kNoState, nullptr}); });
  };
  CHECK(load_with("embeddings.position_ids") == -1);
  CHECK(load_with("made_up.decoder.weight") == -1);
  CHECK(load_with("other.decoder.weight") == 78);
  CHECK(load_with("stem.kernel") == 78);  // beside stem.weight
}

// A model that saves one parameter without the prefix and one with it, as BERT does its head and its encoder.
struct Prefixed {
  const test::TemporaryFolder folder;
  ParamLayout layout;
  std::vector<float> flat;

  Prefixed() {
    layout.add("bias", {2}, false);
    layout.add("norm", {3}, false);
    layout.set_saved_names(
        {.parts = {{.saved = "cls.bias", .param = "bias"}, {.saved = "bert.layer.0.LayerNorm.weight", .param = "norm"}},
         .prefixes = {"bert."},
         .aliases = {{.theirs = ".LayerNorm.gamma", .saved = ".LayerNorm.weight"},
                     {.theirs = "bert.layer.0.scale", .saved = "bert.layer.0.LayerNorm.weight"}},
         .other_heads = {"bert.pooler.bias"}});
    flat = numbered(layout);
  }
  struct Tensor {
    std::string name;
    int64_t size;
  };
  // Loads a file whose tensors of 2 elements are the bias and those of 3 the norm; the error's message.
  std::string error_of(const std::vector<Tensor>& tensors) const {
    std::vector<TensorToSave> file;
    for (const Tensor& t : tensors) {
      const Param& p = layout.params()[t.size == 2 ? 0 : 1];
      file.push_back({t.name, {t.size}, flat.data() + p.offset});
    }
    write_safetensors(folder.path / "m", file);
    std::vector<float> loaded(flat.size(), 9.0f);
    std::string message;
    const int code = test::failure(
        [&] {
          load_model(folder.path / "m", {layout, loaded.data(), kNoState, nullptr});
        },
        &message);
    CHECK(code == (message.empty() ? -1 : 78));
    CHECK(loaded == (message.empty() ? flat : std::vector<float>(flat.size(), 9.0f)));
    return message;
  }
  std::string path() const { return (folder.path / "m").string(); }
};

TEST_CASE("a prefix may stand before a name or be missing, in the file and in the model alike") {
  const Prefixed model;
  const std::string norm = "layer.0.LayerNorm.weight";
  for (const std::string before_bias : {"", "bert."})
    for (const std::string before_norm : {"", "bert."}) {
      CHECK(model.error_of({{before_bias + "cls.bias", 2}, {before_norm + norm, 3}}).empty());
      CHECK(model.error_of({{"pooler.bias", 1}, {before_bias + "cls.bias", 2}, {before_norm + norm, 3}}).empty());
    }
  const std::string start = model.path() + " is of another model: ";
  CHECK(model.error_of({{"bert.cls.bias", 2}}) ==
        start + "bert.layer.0.LayerNorm.weight is missing, the model's is [3]");
  CHECK(model.error_of({{norm, 3}}) == start + "cls.bias is missing, the model's is [2]");
  CHECK(model.error_of({{"cls.bias", 2}, {norm, 4}}) ==
        start + "bert.layer.0.LayerNorm.weight is [4], the model's is [3]");
  CHECK(model.error_of({{"cls.bias", 2}, {norm, 3}, {"bert.more", 1}}) == start + "bert.more is unknown to the model");
  CHECK(model.error_of({{"cls.bias", 2}, {"bert.bert." + norm, 3}}) ==
        start + "bert.layer.0.LayerNorm.weight is missing, the model's is [3]; bert.bert." + norm +
            " is unknown to the model");
  CHECK(model.error_of({{"cls.bias", 2}, {norm, 3}, {"bert." + norm, 3}}) ==
        model.path() + " holds one tensor twice, as " + norm + " and as bert." + norm);
}

TEST_CASE("an alias is the end of a name or a whole one, with and without prefix") {
  const Prefixed model;
  for (const std::string prefix : {"", "bert."}) {
    CHECK(model.error_of({{"cls.bias", 2}, {prefix + "layer.0.LayerNorm.gamma", 3}}).empty());
    CHECK(model.error_of({{"cls.bias", 2}, {prefix + "layer.0.scale", 3}}).empty());
  }
  const std::string missing =
      model.path() + " is of another model: bert.layer.0.LayerNorm.weight is missing, the model's is [3]; ";
  CHECK(model.error_of({{"cls.bias", 2}, {"layer.0.PreLayerNorm.gamma", 3}}) ==
        missing + "layer.0.PreLayerNorm.gamma is unknown to the model");
  CHECK(model.error_of({{"cls.bias", 2}, {"x.layer.0.scale", 3}}) ==
        missing + "x.layer.0.scale is unknown to the model");
  CHECK(model.error_of({{"cls.bias", 2}, {"layer.0.LayerNorm.gamma", 3}, {"layer.0.LayerNorm.weight", 3}}) ==
        model.path() + " holds one tensor twice, as layer.0.LayerNorm.gamma and as layer.0.LayerNorm.weight");
}

TEST_CASE("saved parts that do not make up their parameter are a bug") {
  ParamLayout layout;
  layout.add("w", {6, 2}, true);
  const std::vector<float> flat(size_t(layout.flat_elements()));
  for (const std::vector<SavedPart>& parts :
       {std::vector<SavedPart>{{.saved = "a", .param = "w", .num_rows = 4}},
        {{.saved = "a", .param = "w", .num_rows = 4}, {.saved = "b", .param = "w", .first_row = 3}},
        {{.saved = "a", .param = "w", .num_rows = 3},
         {.saved = "b", .param = "w", .first_row = 3, .permutation = {1, 0}}},
        {{.saved = "a", .param = "w", .permutation = {0, 2}}}}) {
    layout.set_saved_names({.parts = parts});
    CHECK_THROWS(tensors_to_save(layout, flat.data(), ""));
  }
}

}  // namespace
}  // namespace ddp
