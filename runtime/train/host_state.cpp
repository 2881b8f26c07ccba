#include "runtime/train/host_state.h"

#include <fmt/core.h>

#include "runtime/base/error.h"

namespace ddp {

HostState::HostState(Device& device, const TensorView& params, const Optimizer& optimizer, Stream& stream,
                     const WaitPolicy& wait)
    : optimizer_(optimizer), stream_(stream), wait_(wait), params_(device, params, stream, wait) {
  flats_.reserve(optimizer.states().size());
  for (const OptimizerState& state : optimizer.states()) {
    HostFlat& flat = flats_.emplace_back(device, state.flat, stream, wait);
    states_.push_back({.name = state.name, .flat = flat.data()});
  }
}

void HostState::download() {
  params_.download();
  for (HostFlat& flat : flats_) flat.download();
}

void HostState::upload_optimizer() {
  for (HostFlat& flat : flats_) flat.upload();
}

std::map<std::string, double> HostState::download_scalars() {
  const TensorView from = optimizer_.scalar_values();
  if (optimizer_.scalars().empty()) return {};
  std::vector<double> values(size_t(from.numel()));
  stream_.copy(values.data(), from.data, from.bytes());
  stream_.synchronize(wait_);
  std::map<std::string, double> scalars;
  for (size_t i = 0; i < values.size(); ++i) scalars[optimizer_.scalars()[i].name] = values[i];
  return scalars;
}

void HostState::upload_scalars(const std::map<std::string, double>& scalars, const std::string& source) {
  std::vector<double> values;
  for (const OptimizerScalar& scalar : optimizer_.scalars()) {
    const auto found = scalars.find(scalar.name);
    if (found == scalars.end())
      throw Error(ExitCode::data, fmt::format("{} lacks the optimizer's {}", source, scalar.name));
    values.push_back(found->second);
  }
  if (values.empty()) return;
  const TensorView to = optimizer_.scalar_values();
  stream_.copy(to.data, values.data(), to.bytes());
  stream_.synchronize(wait_);
}

}  // namespace ddp
