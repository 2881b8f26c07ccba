#include "runtime/data/data_source.h"

#include <fmt/ranges.h>

#include "runtime/base/error.h"
#include "runtime/data/sampler.h"
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

std::span<const DataFormat> data_formats() {
  static constexpr DataFormat kFormats[] = {{"bytes", open_bytes}, {"tokens", open_tokens}};
  return kFormats;
}

std::unique_ptr<DataSource> open_source(std::span<const DataFormat> formats, std::string_view format,
                                        const SourceRequest& request) {
  std::vector<std::string_view> names;
  for (const DataFormat& known : formats) {
    if (known.name == format) return known.open(request);
    names.push_back(known.name);
  }
  throw Error(ExitCode::config, fmt::format("data.format: no format \"{}\"", format),
              fmt::format("available: {}", fmt::join(names, ", ")));
}

}  // namespace ddp
