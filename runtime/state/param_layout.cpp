#include "runtime/state/param_layout.h"

#include <algorithm>

#include "runtime/base/rounding.h"

namespace ddp {
namespace {

constexpr int64_t kAlign = 128;  // elements: 256 bytes in 16 bits

}  // namespace

ParamId ParamLayout::add(std::string name, const Shape& shape, bool decay, const Init& init, const Shape& live) {
  DDP_CHECK(shape.rank >= 1, "parameter {} has no dimensions", name);
  Param p;
  p.name = std::move(name);
  p.shape = shape;
  p.live = live.rank == 0 ? shape : live;
  DDP_CHECK(p.live.rank == shape.rank, "parameter {} is {}, its live part {}", p.name, shape.text(), live.text());
  for (int d = 0; d < shape.rank; ++d)
    DDP_CHECK(p.live[d] >= 1 && p.live[d] <= shape[d], "parameter {} is {}, its live part {}", p.name, shape.text(),
              live.text());
  p.init = init;
  p.decay = decay;
  p.offset = flat_elements_;
  p.numel = shape.numel();
  p.first_chunk = num_chunks();
  const int64_t end = p.offset + round_up(p.numel, kAlign);
  for (int64_t begin = p.offset; begin < end; begin += kChunkElements) {
    chunk_begin_.push_back(std::min(begin + kChunkElements, end));
    chunk_decay_.push_back(decay ? 1.0f : 0.0f);
  }
  p.num_chunks = num_chunks() - p.first_chunk;
  flat_elements_ = end;
  params_.push_back(std::move(p));
  return ParamId{int(params_.size()) - 1};
}

const Param& ParamLayout::owner_of_element(int64_t i) const {
  DDP_CHECK(i >= 0 && i < flat_elements_, "element {} of {}", i, flat_elements_);
  const auto after = std::ranges::upper_bound(params_, i, {}, &Param::offset);
  return *std::prev(after);
}

int64_t ParamLayout::num_parameters() const {
  int64_t n = 0;
  for (const Param& p : params_) n += p.live.numel();
  return n;
}

TensorView ParamLayout::view(ParamId id, const TensorView& flat) const {
  const Param& p = (*this)[id];
  return flat.slice(p.offset, p.numel).view(p.shape);
}

}  // namespace ddp
