// Initial values of parameters, as the layout declares them.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/device/thread_pool.h"
#include "runtime/state/param_layout.h"

namespace ddp {

// Into a flat host buffer of layout.flat_elements(), padding with zeros. A pure function of layout and seed, whatever
// the pool: element e of a parameter as it is saved (row-major over the saved shape) has draw e of a stream of its own,
// so neither padding nor the order of dimensions in memory changes a value.
void init_params(const ParamLayout& layout, std::span<float> flat, uint64_t seed, ThreadPool& pool);

}  // namespace ddp
