// What a configuration says of its data, as a source is asked for it.
#pragma once

#include "runtime/config/config.h"
#include "runtime/data/data_source.h"

namespace ddp {

// Without an index and without a sign of life. `batch` outlives the request.
inline SourceRequest source_request(const Config& config, Split split, const BatchLayout& batch) {
  const DataConfig& data = config.data;
  const PathList& list = split == Split::train ? data.train : data.valid;
  return {.paths = {list.paths.begin(), list.paths.end()},
          .split = split,
          .seed = uint64_t(config.train.seed),
          .batch = batch,
          .token_bytes = data.token_bytes,
          .augment = data.augment,
          .corrupt = data.corrupt,
          .training = data.train.paths.front()};
}

}  // namespace ddp
