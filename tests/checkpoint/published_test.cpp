// model.init_from: what files that others wrote hold beside the model's own, under other prefixes, twice, or in shards.
#include <fmt/ranges.h>

#include <cstring>
#include <limits>

#include "models/bert/options/options.h"
#include "models/gpt2/options/options.h"
#include "tests/checkpoint/fixture.h"

namespace ddp {
namespace {

using Strings = std::vector<std::string>;

struct PublishedTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<float> values;
  std::string dtype = "F32";
};

std::string bytes_of(const std::vector<PublishedTensor>& tensors) {
  std::string header, data;
  for (const PublishedTensor& t : tensors) {
    const size_t begin = data.size();
    for (const float value : t.values) {
      uint32_t bits = 0;
      std::memcpy(&bits, &value, sizeof bits);
      const auto half = uint16_t(bits >> 16);
      const auto wide = double(value);
      const auto byte = uint8_t(value);
      if (t.dtype == "F32") data.append(reinterpret_cast<const char*>(&bits), sizeof bits);
      if (t.dtype == "BF16") data.append(reinterpret_cast<const char*>(&half), sizeof half);
      if (t.dtype == "F64") data.append(reinterpret_cast<const char*>(&wide), sizeof wide);
      if (t.dtype == "U8" || t.dtype == "F8_E8M0") data.append(reinterpret_cast<const char*>(&byte), sizeof byte);
    }
    header += fmt::format(R"({}"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", header.empty() ? "{" : ",",
                          t.name, t.dtype, fmt::join(t.shape, ","), begin, data.size());
  }
  return test::safetensors_bytes(header + "}", data);
}

std::vector<float> counted(size_t n, float first) {
  std::vector<float> values(n);
  for (float& v : values) v = first++;
  return values;
}

const PublishedTensor kNorm = {"ln_f.weight", {3}, counted(3, 1)}, kPositions = {"wpe.weight", {4, 3}, counted(12, 10)},
                      kTokens = {"wte.weight", {5, 3}, counted(15, 30)};

PublishedTensor renamed(PublishedTensor tensor, const std::string& name) {
  tensor.name = name;
  return tensor;
}
PublishedTensor prefixed(const std::string& prefix, const PublishedTensor& tensor) {
  return renamed(tensor, prefix + tensor.name);
}

// A GPT-2 as far as loading goes: a norm, positions, and tokens in padding.
struct Gpt2 {
  test::TemporaryFolder folder;
  ParamLayout layout, no_state;
  std::vector<float> params;

  explicit Gpt2(int64_t context = 4) {
    layout.add("ln_f.weight", {3}, false);
    layout.add("wpe.weight", {context, 3}, true);
    layout.add("wte.weight", {8, 3}, true, {}, {5, 3});
    layout.set_saved_names(gpt2::saved_names({}));
  }
  std::filesystem::path path() const { return folder.path / "weights"; }
  std::string at_path(const std::string& text) const { return path().string() + text; }
  LoadReport load(const std::filesystem::path& from) {
    params.assign(size_t(layout.flat_elements()), 9.0f);
    return load_model(from, {layout, params.data(), no_state, nullptr});
  }
  Strings notes(const std::vector<PublishedTensor>& tensors) {
    test::write_bytes(path(), bytes_of(tensors));
    const LoadReport report = load(path());
    CHECK(report.anew.empty());
    return report.notes;
  }
  std::string error(const std::vector<PublishedTensor>& tensors, int code = 78) {
    test::write_bytes(path(), bytes_of(tensors));
    return error_at(path(), code);
  }
  std::string error_at(const std::filesystem::path& from, int code) {
    std::string message;
    CHECK(test::failure([&] { load(from); }, &message) == code);
    CHECK(params == std::vector<float>(params.size(), 9.0f));
    CHECK(message.find('\n') == std::string::npos);
    return message;
  }
  // The live values of a parameter.
  std::vector<float> values(size_t param) const {
    const Param& p = layout.params()[param];
    return {params.begin() + p.offset, params.begin() + p.offset + p.live.numel()};
  }
  bool is_all_read() const {
    return values(0) == kNorm.values && values(1) == kPositions.values && values(2) == kTokens.values;
  }
};

TEST_CASE("a tied classifier that is not the embedding is refused, and one that is it is fine") {
  Gpt2 model;
  const PublishedTensor head = renamed(kTokens, "lm_head.weight");
  for (const std::string prefix : {"", "transformer.", "module.transformer."}) {
    const auto file = [&](const PublishedTensor& with) {
      const std::string outer = prefix.starts_with("module.") ? "module." : "";
      return std::vector{prefixed(prefix, kNorm), prefixed(prefix, kPositions), prefixed(prefix, kTokens),
                         prefixed(outer, with)};
    };
    model.notes(file(head));
    CHECK(model.is_all_read());
    PublishedTensor exact = head;
    exact.dtype = "BF16";  // which has these values
    model.notes(file(exact));
    CHECK(model.is_all_read());

    for (PublishedTensor other : {head, exact}) {
      other.values.back() += 4;
      CHECK(model.error(file(other)) == model.at_path(" is of another model: ") +
                                            (prefix.starts_with("module.") ? "module." : "") +
                                            "lm_head.weight differs from " + prefix +
                                            "wte.weight, and this model has one of them; set model.tie_embeddings: "
                                            "false for a classifier of its own");
    }
    PublishedTensor short_head = head;
    short_head.shape = {4, 3};
    short_head.values.resize(12);
    CHECK(model.error(file(short_head)).find("lm_head.weight differs from") != std::string::npos);
    PublishedTensor bytes = head;
    bytes.dtype = "U8";
    CHECK(model.error(file(bytes), 65).find("lm_head.weight is U8; F32, F16, BF16 and F64 can be loaded") !=
          std::string::npos);
  }
  const auto with_zero = [&](float zero) {
    PublishedTensor tensor = kTokens;
    tensor.values[7] = zero;
    return tensor;
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(model.error({kNorm, kPositions, with_zero(nan), head}).find("differs") != std::string::npos);
  CHECK(
      model.error({kNorm, kPositions, with_zero(0.0f), renamed(with_zero(-0.0f), "lm_head.weight")}).find("differs") !=
      std::string::npos);
}

TEST_CASE("a copy is taken for its original where the file has it alone") {
  Gpt2 model;
  for (const std::string prefix : {"", "transformer.", "_orig_mod.", "module.transformer."}) {
    const std::string outer = prefix == "transformer." ? "" : prefix.substr(0, prefix.find('.') + 1);
    model.notes({prefixed(prefix, kNorm), prefixed(prefix, kPositions), renamed(kTokens, outer + "lm_head.weight")});
    CHECK(model.is_all_read());
  }
  CHECK(model.error({kNorm, kPositions}) ==
        model.at_path(" is of another model: wte.weight is missing, the model's is [5, 3]"));
}

TEST_CASE("the names of wrapped models are read without the wrapper, which is said once") {
  Gpt2 model;
  CHECK(model.notes({kNorm, kPositions, kTokens}).empty());
  for (const std::string wrapper :
       {"module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module."})
    for (const std::string prefix : {"", "transformer."}) {
      const std::string all = wrapper + prefix;
      const Strings note = {model.at_path(": its names are read without \"" + wrapper + "\"")};
      CHECK(model.notes({prefixed(all, kNorm), prefixed(all, kPositions), prefixed(all, kTokens)}) == note);
      CHECK(model.is_all_read());
      // A mask may be without.
      CHECK(model.notes({prefixed(all, kNorm),
                         prefixed(all, kPositions),
                         prefixed(all, kTokens),
                         {"h.0.attn.bias", {1, 1, 1, 1}, {1}}}) == note);
    }
  // Of the model within another.
  const std::string inner = "transformer._orig_mod.";
  CHECK(model.notes({prefixed(inner, kNorm), prefixed(inner, kPositions), prefixed(inner, kTokens),
                     renamed(kTokens, "lm_head.weight")}) ==
        Strings{model.at_path(": its names are read without \"transformer._orig_mod.\"")});
  CHECK(model.is_all_read());
}

TEST_CASE("a wrapper before some names, and an unknown prefix before all, are named") {
  Gpt2 model;
  const std::string start = model.at_path(" is of another model: ");
  const std::string hint = "; save the state_dict of the model within the wrapper";
  for (const std::string wrapper : {"module.", "_orig_mod.", "module._orig_mod."}) {
    CHECK(model.error({prefixed(wrapper, kNorm), prefixed(wrapper, kPositions), kTokens}) ==
          start + wrapper + "ln_f.weight begins with \"" + wrapper +
              "\", as the names of a wrapped model do, and wte.weight does not" + hint);
    CHECK(model.error({kNorm, kPositions, kTokens, prefixed(wrapper, kTokens)}) ==
          start + wrapper + "wte.weight begins with \"" + wrapper +
              "\", as the names of a wrapped model do, and ln_f.weight does not" + hint);
  }
  CHECK(model.error({prefixed("transformer.module.", kNorm), prefixed("transformer.", kPositions)})
            .find("begins with \"transformer.module.\"") != std::string::npos);
  for (const std::string prefix : {"model.", "model.backbone.", "module.model."})
    for (const std::string known : {"", "transformer."}) {
      const std::string all = prefix + known;
      CHECK(model.error({prefixed(all, kNorm), prefixed(all, kPositions), prefixed(all, kTokens)}) ==
            start + "every name begins with \"" + prefix +
                "\", without which they are this model's; save the state_dict of the model within, or the tensors "
                "without it");
    }
  CHECK(
      model.error({prefixed("model.", kNorm), prefixed("model.", kPositions), renamed(kTokens, "model.lm_head.weight")})
          .find("every name begins with \"model.\"") != std::string::npos);
  CHECK(model.error({prefixed("model.", kNorm), prefixed("model.", kTokens)}).find("is missing") != std::string::npos);
}

TEST_CASE("a mask is passed over, of whatever type, and no weight by the name of one") {
  Gpt2 model;
  const auto with = [&](const PublishedTensor& more) { return std::vector{kNorm, kPositions, kTokens, more}; };
  CHECK(model.notes(with({"h.0.attn.bias", {1, 1, 2, 2}, counted(4, 0)})).empty());
  CHECK(model.notes(with({"h.0.attn.masked_bias", {}, {-1e4f}})).empty());
  CHECK(model.notes(with({"transformer.h.0.attn.bias", {1, 1, 2, 2}, counted(4, 0), "U8"})).empty());
  CHECK(model.notes(with({"h.0.attn.bias", {4}, counted(4, 0), "F8_E8M0"})).empty());
  CHECK(model.error(with({"h.0.attn.bias", {9}, counted(9, 0)})) ==
        model.at_path(" is of another model: h.0.attn.bias is unknown to the model"));
  CHECK(model.error(with({"h.0.attn.masked_bias", {2}, counted(2, 0)})).find("is unknown") != std::string::npos);
  CHECK(model.error(with({"score.weight", {2, 3}, counted(6, 0)})).find("score.weight is unknown") !=
        std::string::npos);
  CHECK(model.error(with({R"(a\nb\u001b)", {1}, {1}})) ==
        model.at_path(" is of another model: a?b? is unknown to the model"));
}

TEST_CASE("F64 is rounded, and a wanted tensor of a type that is not read is refused by its name") {
  Gpt2 model;
  PublishedTensor wide = kTokens;
  wide.dtype = "F64";
  model.notes({kNorm, kPositions, wide});
  CHECK(model.is_all_read());
  wide.dtype = "F8_E8M0";
  test::write_bytes(model.path(), bytes_of({kNorm, kPositions, wide}));
  std::string message;
  CHECK(test::failure([&] { model.load(model.path()); }, &message) == 65);
  CHECK(message == model.at_path(": tensor wte.weight is F8_E8M0; F32, F16, BF16 and F64 can be loaded"));
}

TEST_CASE("of more positions than model.context the first are read, which is said; fewer are refused") {
  Gpt2 model(2);
  CHECK(model.notes({kNorm, kPositions, kTokens}) ==
        Strings{model.at_path(": wpe.weight uses 2 of 4 positions (model.context)")});
  CHECK(model.values(1) == counted(6, 10));
  CHECK(model.values(2) == kTokens.values);
  Gpt2 longer(6);
  CHECK(longer.error({kNorm, kPositions, kTokens}) ==
        longer.at_path(" is of another model: wpe.weight is [4, 3], the model's is [6, 3] (set model.context to 4 or "
                       "less)"));
  PublishedTensor wider = kPositions;
  wider.shape = {6, 2};
  CHECK(model.error({kNorm, wider, kTokens}).find("wpe.weight is [6, 2], the model's is [2, 3]") != std::string::npos);
  // Tokens are no positions, and a checkpoint is of one form.
  CHECK(model.error({kNorm, kPositions, {"wte.weight", {6, 3}, counted(18, 0)}}).find("wte.weight is [6, 3]") !=
        std::string::npos);
  test::write_bytes(model.folder.path / kModelFile, bytes_of({kNorm, kPositions, kTokens}));
  CHECK(test::failure([&] {
          load_checkpoint_model(model.folder.path, {model.layout, model.params.data(), model.no_state, nullptr});
        }) == 78);
}

// As the layout of the model, with a body of the embeddings alone.
struct Bert {
  test::TemporaryFolder folder;
  ParamLayout layout, no_state;
  std::vector<float> params;
  PublishedTensor words{"bert.embeddings.word_embeddings.weight", {5, 3}, counted(15, 1)},
      positions{"bert.embeddings.position_embeddings.weight", {4, 3}, counted(12, 20)},
      bias{"cls.predictions.bias", {5}, counted(5, 40)};

  explicit Bert(bert::Task task, int64_t num_positions = 4) {
    const bool is_masked = task == bert::Task::mlm;
    layout.add(is_masked ? "cls.predictions.bias" : "classifier.bias", {5}, false);
    layout.add("bert.embeddings.position_embeddings.weight", {num_positions, 3}, true);
    layout.add("bert.embeddings.word_embeddings.weight", {5, 3}, true);
    bert::Options options;
    options.task = task;
    options.layers = 0;
    layout.set_saved_names(bert::saved_names(options));
    params.assign(size_t(layout.flat_elements()), 9.0f);
  }
  std::string path() const { return (folder.path / "weights").string(); }
  LoadReport load(const std::vector<PublishedTensor>& tensors) {
    test::write_bytes(path(), bytes_of(tensors));
    return load_model(path(), {layout, params.data(), no_state, nullptr});
  }
  std::string error(const std::vector<PublishedTensor>& tensors) {
    std::string message;
    CHECK(test::failure([&] { load(tensors); }, &message) == 78);
    return message;
  }
};

TEST_CASE("bert: decoder and its bias are copies of embedding and bias") {
  for (const std::string outer : {"", "module."}) {
    Bert model(bert::Task::mlm);
    const auto file = [&](std::vector<PublishedTensor> tensors) {
      for (PublishedTensor& t : tensors) t.name = outer + t.name;
      return tensors;
    };
    const PublishedTensor decoder = renamed(model.words, "cls.predictions.decoder.weight"),
                          decoder_bias = renamed(model.bias, "cls.predictions.decoder.bias");
    const std::vector<float> read = [&] {
      CHECK(model.load(file({model.words, model.positions, model.bias})).anew.empty());
      return model.params;
    }();
    for (const auto& tensors :
         {file({model.words, model.positions, model.bias, decoder, decoder_bias}),
          file({model.positions, model.bias, decoder}), file({model.words, model.positions, decoder_bias})}) {
      model.params.assign(model.params.size(), 9.0f);
      CHECK(model.load(tensors).anew.empty());
      CHECK(model.params == read);
    }
    PublishedTensor other = decoder, other_bias = decoder_bias;
    other.values[0] += 1;
    other_bias.values[4] += 1;
    CHECK(model.error(file({model.words, model.positions, model.bias, other}))
              .find("cls.predictions.decoder.weight differs from " + outer +
                    "bert.embeddings.word_embeddings.weight") != std::string::npos);
    CHECK(model.error(file({model.words, model.positions, model.bias, other_bias}))
              .find("cls.predictions.decoder.bias differs from " + outer + "cls.predictions.bias") !=
          std::string::npos);
  }
}

TEST_CASE("bert: heads of other tasks are passed over, and named; positions are cropped") {
  Bert model(bert::Task::classify, 3);
  const LoadReport report = model.load({model.words,
                                        model.positions,
                                        model.bias,
                                        {"cls.seq_relationship.bias", {2}, counted(2, 0)},
                                        {"bert.embeddings.position_ids", {1, 4}, counted(4, 0)},
                                        renamed(model.words, "cls.predictions.decoder.weight")});
  CHECK(report.notes ==
        Strings{model.path() + ": what this model has no use for is passed over: cls.predictions.bias, "
                               "cls.predictions.decoder.weight, cls.seq_relationship.bias",
                model.path() + ": bert.embeddings.position_embeddings.weight uses 3 of 4 positions (model.positions)"});
  CHECK(report.anew == Strings{"classifier.bias is missing, the model's is [5]"});
  Bert longer(bert::Task::classify, 5);
  CHECK(longer.error({model.words, model.positions}).find("(set model.positions to 4 or less)") != std::string::npos);
}

}  // namespace
}  // namespace ddp
