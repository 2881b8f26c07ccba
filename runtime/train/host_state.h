// Parameters, the model's state and the optimizer's as the host sees them, for checkpoints and initial values.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/checkpoint/checkpoint.h"
#include "runtime/optim/optimizer.h"
#include "runtime/state/model.h"
#include "runtime/train/host_flat.h"
#include "runtime/train/train_step.h"

namespace ddp {

class HostState {
 public:
  // The step and the model outlive this. Nothing may be enqueued that writes what they own until the work done here is
  // over.
  HostState(Device& device, const Model& model, TrainStep& step, Stream& stream, const WaitPolicy& wait);

  // Flat, on the host; the state's is empty where the model has none.
  std::span<float> params() { return params_.values(); }
  std::span<float> model_state() { return model_state_ ? model_state_->values() : std::span<float>(); }
  ModelFlats model_flats();
  // The optimizer's flat states, in its order.
  const std::vector<NamedFlat>& states() const { return states_; }
  void download();          // all but scalars; blocks
  void upload_model();      // parameters and the model's state; blocks
  void upload_optimizer();  // states; blocks
  // The optimizer's scalars by name, from and to the device; blocks. Errors: data (65) where `scalars` lacks one;
  // `source` stands for where they are from.
  std::map<std::string, double> download_scalars();
  void upload_scalars(const std::map<std::string, double>& scalars, const std::string& source);

 private:
  const Model& model_;
  const Optimizer& optimizer_;
  Stream& stream_;
  WaitPolicy wait_;
  HostFlat params_;
  std::optional<HostFlat> model_state_;
  std::vector<HostFlat> flats_;
  std::vector<NamedFlat> states_;
};

}  // namespace ddp
