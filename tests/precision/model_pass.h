// One forward and backward of a model on any device, by any op table, in any storage type (f64 too, which no trainer
// runs in): what a gradient is compared with.
#pragma once

#include "kernels/op_table.h"
#include "runtime/state/model.h"
#include "tests/ops/reference.h"

namespace ddp::test {

// Where and in what type a model runs. Device and table outlive it.
struct Backend {
  Device& device;
  const OpTable& table;
  DType storage = DType::f32;
};

struct ModelPass {
  Vec grads;        // flat, of the mean loss: unscaled; stored in the storage type before
  double loss = 0;  // mean over the counted targets
};

// params: flat, rounded to the storage type as they are uploaded. Blocks.
ModelPass train_pass(const Backend& backend, const Model& model, const Vec& params, const HostBatch& batch,
                     float loss_scale);

// Flat parameters, the same for the same model. Scrambled ones make every path matter: they are larger than the initial
// ones, biases and norms not at their neutral values.
Vec initial_params(const Model& model);
Vec scrambled_params(const Model& model);

}  // namespace ddp::test
