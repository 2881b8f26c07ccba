#include "runtime/data/labelled_texts.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/base/error.h"
#include "runtime/base/file_kind.h"
#include "runtime/base/fs.h"
#include "runtime/base/hash.h"
#include "runtime/state/safetensors.h"

namespace ddp {
namespace {

constexpr int64_t kMaxBytes = int64_t{2} << 30;

const SavedTensor& find_tensor(const SafetensorsReader& file, const char* name) {
  const auto found = std::ranges::find(file.tensors(), name, &SavedTensor::name);
  if (found == file.tensors().end())
    throw Error(ExitCode::data, fmt::format("{} has no tensor {}", file.path().string(), name),
                "data.format labelled takes I32 tensors: tokens (N,W), types (N,W), lengths (N), labels (N)");
  return *found;
}

std::vector<int32_t> read_tensor(const SafetensorsReader& file, const char* name, const std::vector<int64_t>& shape) {
  const SavedTensor& tensor = find_tensor(file, name);
  if (tensor.shape != shape)
    throw Error(ExitCode::data, fmt::format("{}: tensor {} has the shape {}, beside these tokens it is {}",
                                            file.path().string(), name, tensor.shape, shape));
  std::vector<int32_t> values(size_t(tensor.numel()));
  file.read_i32(tensor, values);
  return values;
}

// As the reader does, which says what to do for weights.
void check_may_be_texts(const std::filesystem::path& path) {
  const FileKind kind = kind_if_not_safetensors(first_bytes(open_input(path), path));
  if (kind.type == FileClass::unknown) return;
  throw Error(ExitCode::data, fmt::format("{} is {}, and no safetensors file", path.string(), kind.name),
              kind.type == FileClass::lfs_pointer
                  ? kFetchPointer
                  : "data.format labelled takes what scripts/prepare_text.py or safetensors writes");
}

TextSet read_texts(const std::filesystem::path& path) {
  check_may_be_texts(path);
  const SafetensorsReader file(path);
  const std::vector<int64_t>& shape = find_tensor(file, "tokens").shape;
  if (shape.size() != 2 || shape[0] < 1 || shape[1] < 1)
    throw Error(ExitCode::data, fmt::format("{}: tensor tokens has the shape {}, and not that of N texts of W tokens",
                                            file.path().string(), shape));
  if (const int64_t bytes = file.tensors().back().end; bytes > kMaxBytes)
    throw Error(ExitCode::data, fmt::format("{} holds {} bytes, and data.format labelled reads at most {} into memory",
                                            file.path().string(), bytes, kMaxBytes));
  return {.width = shape[1],
          .tokens = read_tensor(file, "tokens", shape),
          .types = read_tensor(file, "types", shape),
          .lengths = read_tensor(file, "lengths", {shape[0]}),
          .labels = read_tensor(file, "labels", {shape[0]})};
}

// Rows of values, each filled up with zeros to a greater width.
std::vector<int32_t> widened(const std::vector<int32_t>& values, int64_t width, int64_t to) {
  std::vector<int32_t> wide(values.size() / size_t(width) * size_t(to));
  for (size_t row = 0; row * size_t(width) < values.size(); ++row)
    std::copy_n(values.begin() + int64_t(row) * width, width, wide.begin() + int64_t(row) * to);
  return wide;
}

void append(TextSet& all, TextSet more, const std::string& file) {
  const int64_t width = std::max(all.width, more.width), rows = int64_t(all.labels.size() + more.labels.size());
  if (rows * (width + 1) * 2 * int64_t(sizeof(int32_t)) > kMaxBytes)
    throw Error(ExitCode::data, fmt::format("the files up to {} hold more than {} bytes together, which data.format "
                                            "labelled reads into memory at most",
                                            file, kMaxBytes));
  for (TextSet* set : {&all, &more}) {
    if (set->width == width) continue;
    set->tokens = widened(set->tokens, set->width, width);
    set->types = widened(set->types, set->width, width);
    set->width = width;
  }
  const auto join = [](std::vector<int32_t>& to, const std::vector<int32_t>& from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  join(all.tokens, more.tokens);
  join(all.types, more.types);
  join(all.lengths, more.lengths);
  join(all.labels, more.labels);
}

// What the values of a file have to be below.
struct Limits {
  int64_t context, tokens, types, labels;
};

void check_texts(const TextSet& texts, const Limits& limits, const std::string& file) {
  const auto fail = [&file](const std::string& what, const std::string& hint, ExitCode code = ExitCode::data) {
    throw Error(code, file + ": " + what, hint);
  };
  for (size_t i = 0; i < texts.labels.size(); ++i) {
    const int64_t length = texts.lengths[i];
    if (length < 1 || length > texts.width)
      fail(fmt::format("sample {} has length {}, of at most {}", i, length, texts.width), "a text has 1 token or more");
    const auto check = [&](const std::vector<int32_t>& values, const char* what, int64_t limit, const char* hint) {
      const auto row = std::span(values).subspan(i * size_t(texts.width), size_t(length));
      const auto bad = std::ranges::find_if(row, [limit](int32_t x) { return x < 0 || x >= limit; });
      if (bad != row.end())
        fail(fmt::format("sample {} has {} {} at {}, not from 0 to {}", i, what, *bad, bad - row.begin(), limit - 1),
             hint);
    };
    check(texts.tokens, "token", limits.tokens, "is the file of another tokenizer than model.vocab is for?");
    check(texts.types, "type", limits.types, "a type says which part of a text a token belongs to");
    if (const int32_t label = texts.labels[i]; label < 0 || label >= limits.labels)
      fail(fmt::format("sample {} has label {}, not below model.classes {}", i, label, limits.labels),
           "set model.classes to the number of classes, or is this another data set?");
  }
  const auto longest = std::ranges::max_element(texts.lengths);
  if (*longest > limits.context)
    fail(fmt::format("sample {} has {} tokens, and model.context is {}", longest - texts.lengths.begin(), *longest,
                     limits.context),
         fmt::format("model.context must be at least {}", *longest), ExitCode::config);
}

}  // namespace

LabelledTexts::LabelledTexts(TextSet texts, Split split, uint64_t seed)
    : DataSource(split, seed), texts_(std::move(texts)) {}

std::string LabelledTexts::fingerprint() const {
  Xxh3 hash;
  for (const std::vector<int32_t>* values : {&texts_.tokens, &texts_.types, &texts_.lengths, &texts_.labels})
    hash.update(std::as_bytes(std::span(*values)));
  return fmt::format("{} texts of up to {} tokens, xxh3 {}", num_samples(), texts_.width, hash_text(hash.digest()));
}

void LabelledTexts::fill_sample(HostBatch& batch, int64_t i, const Draw& draw) const {
  const auto sample = size_t(draw.sample);
  const auto length = size_t(texts_.lengths[sample]);
  const auto fill = [&](const char* name, const std::vector<int32_t>& values) {
    const std::span<int32_t> out = batch.sample<int32_t>(name, i);
    std::ranges::copy(std::span(values).subspan(sample * size_t(texts_.width), length), out.begin());
    std::ranges::fill(out.subspan(length), 0);
  };
  fill("tokens", texts_.tokens);
  fill("types", texts_.types);
  batch.sample<int32_t>("lengths", i)[0] = int32_t(length);
  batch.sample<int32_t>("label", i)[0] = texts_.labels[sample];
}

std::unique_ptr<DataSource> open_labelled(const SourceRequest& request) {
  const auto field = [&](const char* name) -> const BatchLayout::Field& { return *request.batch.find(name); };
  const Shape shape = field("tokens").shape;
  DDP_CHECK(shape.rank == 2 && field("types").shape == shape && field("lengths").shape.rank == 1 &&
                field("label").shape.rank == 1,
            "tokens {}, types {}, lengths {} and label {}", shape.text(), field("types").shape.text(),
            field("lengths").shape.text(), field("label").shape.text());
  const Limits limits{.context = shape[1],
                      .tokens = field("tokens").input.limit,
                      .types = field("types").input.limit,
                      .labels = field("label").input.limit};
  TextSet texts;
  for (const std::filesystem::path& path : request.paths) {
    TextSet more = read_texts(path);
    check_texts(more, limits, path.string());
    texts.width == 0 ? void(texts = std::move(more)) : append(texts, std::move(more), path.string());
  }
  return std::make_unique<LabelledTexts>(std::move(texts), request.split, request.seed);
}

}  // namespace ddp
