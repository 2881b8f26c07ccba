#include "runtime/train/host_state.h"

#include <fmt/core.h>

#include "runtime/base/error.h"

namespace ddp {

HostState::HostState(Device& device, const Model& model, TrainStep& step, Stream& stream, const WaitPolicy& wait)
    : model_(model),
      optimizer_(step.optimizer()),
      stream_(stream),
      wait_(wait),
      params_(device, step.params(), stream, wait) {
  if (step.model_state()) model_state_.emplace(device, step.model_state(), stream, wait);
  flats_.reserve(optimizer_.states().size());
  for (const OptimizerState& state : optimizer_.states()) {
    HostFlat& flat = flats_.emplace_back(device, state.flat, stream, wait);
    states_.push_back({.name = state.name, .flat = flat.data()});
  }
}

void HostState::download() {
  params_.download();
  if (model_state_) model_state_->download();
  for (HostFlat& flat : flats_) flat.download();
}

void HostState::upload_model() {
  params_.upload();
  if (model_state_) model_state_->upload();
}

ModelFlats HostState::model_flats() {
  return {.layout = model_.layout(),
          .params = params_.data(),
          .state_layout = model_.state_layout(),
          .state = model_state().data()};
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
