#include "runtime/data/masked_source.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/base/error.h"
#include "runtime/data/text_meta.h"

namespace ddp {
namespace {

constexpr int64_t kFrame = 2;  // tokens of a sample that are not the file's: cls and sep

MaskedSource::Rules rules_of(const TextMeta& meta, const std::string& file) {
  const auto id_of = [&](const char* name) {
    const auto found = meta.special.find(name);
    if (found == meta.special.end())
      throw Error(ExitCode::data,
                  fmt::format("{} has no special.{}, which masked language modelling needs", file, name),
                  "was the text prepared for another kind of model?");
    return found->second;
  };
  MaskedSource::Rules rules{.masking = {.mask = id_of("mask"), .vocab = meta.vocab},
                            .cls = id_of("cls"),
                            .sep = id_of("sep"),
                            .special_ids = fmt::format("vocab {}", meta.vocab)};
  for (const auto& [name, id] : meta.special) {
    rules.masking.special.push_back(id);
    rules.special_ids += fmt::format(", {} {}", name, id);
  }
  return rules;
}

MaskedSource::Rules rules_beside(const TokenFile& file, int64_t vocab) {
  const std::string meta_path = text_meta_path(file.path()).string();
  const std::optional<TextMeta> meta = read_text_meta(file.path(), file.num_tokens());
  if (!meta)
    throw Error(ExitCode::no_input,
                meta_path + " is missing, which names the special tokens of " + file.path().string(),
                "scripts/prepare_text.py writes it");
  if (meta->vocab > vocab)
    throw Error(ExitCode::config,
                fmt::format("{} is of {} tokens, and model.vocab is {}", meta_path, meta->vocab, vocab),
                fmt::format("set model.vocab to {}", meta->vocab));
  return rules_of(*meta, meta_path);
}

}  // namespace

MaskedSource::MaskedSource(TokenFiles files, Rules rules, Split split, uint64_t seed)
    : DataSource(split, seed), files_(std::move(files)), rules_(std::move(rules)) {}

std::string MaskedSource::fingerprint() const { return files_.fingerprint() + ", " + rules_.special_ids; }

void MaskedSource::fill_sample(HostBatch& batch, int64_t i, const Draw& draw) const {
  const std::span<int32_t> tokens = batch.sample<int32_t>("tokens", i);
  tokens.front() = rules_.cls;
  files_.read(draw.sample, tokens.subspan(1, tokens.size() - kFrame), batch.raw);
  tokens.back() = rules_.sep;
  std::ranges::fill(batch.sample<int32_t>("types", i), 0);
  mask_tokens(rules_.masking, seed(), {split() == Split::train ? draw.epoch : 0, draw.sample}, tokens,
              batch.sample<int32_t>("positions", i), batch.sample<int32_t>("targets", i));
}

std::unique_ptr<DataSource> open_masked(const SourceRequest& request) {
  const auto shape_of = [&](const char* name) { return request.batch.find(name)->shape; };
  const Shape shape = shape_of("tokens");
  DDP_CHECK(shape.rank == 2 && shape[1] > kFrame && shape_of("types") == shape && shape_of("positions").rank == 2 &&
                shape_of("targets") == shape_of("positions"),
            "tokens {}, types {}, positions {} and targets {}", shape.text(), shape_of("types").text(),
            shape_of("positions").text(), shape_of("targets").text());
  const int64_t text_tokens = shape[1] - kFrame, vocab = request.batch.find("tokens")->input.limit;
  TokenFiles files(request, TokenFormat::tokens, {.stride = text_tokens, .tokens = text_tokens});
  const MaskedSource::Rules rules = rules_beside(files.files().front(), vocab);
  for (const TokenFile& file : files.files())
    if (rules_beside(file, vocab).special_ids != rules.special_ids)
      throw Error(ExitCode::data,
                  fmt::format("{} and {} are of different vocabularies, as their meta.json say",
                              files.files().front().path().string(), file.path().string()),
                  "prepare all files with one tokenizer");
  return std::make_unique<MaskedSource>(std::move(files), rules, request.split, request.seed);
}

}  // namespace ddp
