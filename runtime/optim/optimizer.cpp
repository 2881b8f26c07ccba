#include "runtime/optim/optimizer.h"

#include <utility>

namespace ddp {

Optimizer::Optimizer(Device& device, const ParamLayout& layout, const std::vector<std::string>& states,
                     std::vector<OptimizerScalar> scalars, Stream& stream)
    : scalars_(std::move(scalars)), chunk_decay_(device, layout.num_chunks()) {
  for (const std::string& name : states) {
    const Buffer<float>& flat = flats_.emplace_back(device, layout.flat_elements());
    states_.push_back({.name = name, .flat = flat.view()});
    stream.zero(flat.view());
  }
  stream.copy(chunk_decay_.data(), layout.chunk_decay().data(), chunk_decay_.bytes());
  std::vector<double> initial;
  for (const OptimizerScalar& s : scalars_) initial.push_back(s.initial);
  if (!initial.empty()) {
    scalar_values_ = Buffer<double>(device, int64_t(initial.size()));
    stream.copy(scalar_values_.data(), initial.data(), scalar_values_.bytes());
  }
  stream.synchronize(no_deadline(0));
}

int64_t Optimizer::bytes() const {
  int64_t total = scalar_values_.bytes() + chunk_decay_.bytes();
  for (const Buffer<float>& flat : flats_) total += flat.bytes();
  return total;
}

}  // namespace ddp
