// What a configuration says of its data, as a source is asked for it.
#pragma once

#include "runtime/config/config.h"
#include "runtime/data/data_source.h"

namespace ddp {

// Without an index and without a sign of life. `batch` outlives the request.
inline SourceRequest source_request(const Config& config, Split split, const BatchLayout& batch) {
  const DataConfig& data = config.data;
  return {.path = split == Split::train ? data.train : data.valid,
          .split = split,
          .seed = uint64_t(config.train.seed),
          .batch = batch,
          .augment = data.augment,
          .corrupt = data.corrupt,
          .training = data.train};
}

}  // namespace ddp
