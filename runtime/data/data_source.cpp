#include "runtime/data/data_source.h"

#include <fmt/core.h>

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

SourceMakers source_makers() {
  static constexpr SourceMaker kMakers[] = {{"bytes", open_bytes}, {"tokens", open_tokens}};
  return kMakers;
}

std::unique_ptr<DataSource> open_source(SourceMakers makers, std::string_view format, const SourceRequest& request) {
  for (const SourceMaker& maker : makers)
    if (maker.format == format) return maker.open(request);
  throw Error(ExitCode::config, fmt::format("data.format: no format \"{}\" in this program", format));
}

}  // namespace ddp
