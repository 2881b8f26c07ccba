#include "runtime/data/data_source.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/base/error.h"
#include "runtime/data/images/cifar.h"
#include "runtime/data/images/folder_images.h"
#include "runtime/data/images/idx.h"
#include "runtime/data/labelled_texts.h"
#include "runtime/data/sampler.h"
#include "runtime/data/synthetic_images.h"
#include "runtime/data/token_source.h"

namespace ddp {

Draw DataSource::draw(uint64_t position) const {
  const uint64_t n = uint64_t(num_samples()), epoch = position / n;
  const auto place = int64_t(position % n);
  return {epoch, split_ == Split::train ? sample_index(seed_, epoch, place, int64_t(n)) : place};
}

void DataSource::fill(HostBatch& batch, uint64_t first) const {
  for (int64_t i = 0; i < batch.layout().num_samples(); ++i) fill_sample(batch, i, draw(first + uint64_t(i)));
}

const std::filesystem::path& SourceRequest::path() const {
  DDP_CHECK(paths.size() == 1, "{} paths of a format that takes one", paths.size());
  return paths.front();
}

SourceMakers source_makers() {
  static constexpr std::string_view kNextToken[] = {"tokens", "targets"}, kImages[] = {"image", "label"},
                                    kTokens[] = {"tokens", "targets", "types", "positions"},
                                    kLabelled[] = {"tokens", "types", "lengths", "label"};
  static constexpr SourceMaker kMakers[] = {{"bytes", open_bytes, kNextToken},
                                            {"tokens", open_tokens, kTokens},
                                            {"labelled", open_labelled, kLabelled},
                                            {"images", open_images, kImages, prepare_images},
                                            {"idx", open_idx, kImages},
                                            {"cifar10", open_cifar10, kImages},
                                            {"cifar100", open_cifar100, kImages},
                                            {"synthetic", open_synthetic, kImages}};
  return kMakers;
}

const SourceMaker& find_maker(SourceMakers makers, std::string_view format, const BatchLayout& batch) {
  const auto maker = std::ranges::find(makers, format, &SourceMaker::format);
  if (maker == makers.end())
    throw Error(ExitCode::config, fmt::format("data.format: no format \"{}\" in this program", format));
  const auto missing_from = [&batch](const SourceMaker& m) {
    std::vector<std::string_view> names;
    for (const auto& [input, shape, offset] : batch.fields())
      if (input.derive == nullptr && input.name != kSampleIds && std::ranges::count(m.inputs, input.name) == 0)
        names.push_back(input.name);
    return names;
  };
  const std::vector<std::string_view> missing = missing_from(*maker);
  if (missing.empty()) return *maker;
  std::vector<std::string_view> others;
  for (const SourceMaker& other : makers)
    if (missing_from(other).empty()) others.push_back(other.format);
  throw Error(ExitCode::config,
              fmt::format("data.format {} has no {}, of which the model learns", format, fmt::join(missing, ", ")),
              fmt::format("formats that have: {}", fmt::join(others, ", ")));
}

}  // namespace ddp
