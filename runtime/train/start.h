// How a run begins: from a checkpoint, from a given model, or from random values, the same on every rank.
#pragma once

#include <string>
#include <vector>

#include "runtime/checkpoint/checkpoint.h"
#include "runtime/comm/communicator.h"
#include "runtime/config/config.h"
#include "runtime/config/resume_changes.h"
#include "runtime/train/train_step.h"

namespace ddp {

// The data is not the run's, and nobody consented to that: data (65).
struct OtherData : Error {
  using Error::Error;
};

struct StartRequest {
  const Config& config;
  std::string resume = "none";        // none | auto | PATH of a checkpoint
  std::vector<std::string> accepted;  // keys of which a run that goes on accepts a change
  std::string data_fingerprint;       // of the training data as it is now
};

// What determines the result and is another one since a checkpoint, of which `written` is the state, was written: keys,
// and data.train where its content is. `now.data_fingerprint` and its configuration are compared, no paths. Errors:
// config (78) where the checkpoint's configuration cannot be read.
std::vector<KeyChange> changes_since(const TrainingState& written, const StartRequest& now);

// Fills parameters and optimizer state of every rank and sets the step's scalars. Rank 0 reads, the others receive.
// Collective; blocks. Returns the state after which the run goes on; step 0 for a fresh start. Errors, on rank 0: data
// (65) when checkpoints are there but none verifies, or the data changed without consent; config (78) naming the keys
// or tensors that differ; non_finite (79) naming a tensor that is not finite.
TrainingState start_run(const StartRequest& request, const Model& model, Device& device, Communicator& comm,
                        TrainStep& step, const WaitPolicy& wait);

// Reads the weights that model.init_from names, and logs what was read otherwise than it stands in the file, a line
// each. Returns how the file differs from what starts anew; errors: as load_model.
std::vector<std::string> load_init_from(const std::string& source, const ModelFlats& model);

// That each value of a model which was read from `source` is finite, and stays so in the storage type. Errors:
// non_finite (79) naming the tensor.
void check_loaded_model(const std::string& source, const TrainConfig& train, const ModelFlats& model);

}  // namespace ddp
