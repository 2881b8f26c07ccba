// What the layers of one forward and backward share: where parameters and gradients lie, how ops run, whom to tell.
#pragma once

#include <functional>

#include "kernels/ops.h"
#include "runtime/base/loss_sums.h"
#include "runtime/device/arena.h"
#include "runtime/state/model.h"
#include "runtime/state/param_layout.h"

namespace ddp {

struct Pass {
  const Exec& exec;
  Arena& arena;
  const ParamLayout& layout;
  const ParamLayout* state_layout = nullptr;
  TensorView params;      // flat, of the storage type S
  TensorView grads = {};  // flat, S or f32
  bool accumulate = false;
  TensorView sums = {};        // f64 (S, n) by LossSum: of the pass, S 1, or of each of its samples
  TensorView statistics = {};  // flat as state_layout, f64: what training says of the state
  TensorView state = {};       // flat as state_layout, f32: what evaluation reads
  const std::function<void(ParamId)>* ready = nullptr;
  Dropout dropout;  // the key and the rate; layers set the site

  TensorView param(ParamId id) const { return layout.view(id, params); }
  TensorView grad(ParamId id) const { return layout.view(id, grads); }
  TensorView statistic(ParamId id) const { return state_layout->view(id, statistics); }
  TensorView running(ParamId id) const { return state_layout->view(id, state); }
  // From the arena: an activation, of type S; a statistic, f32.
  ArenaTensor take(const Shape& shape, const char* name) const { return arena.take(shape, name, params.dtype); }
  ArenaTensor take_wide(const Shape& shape, const char* name) const {
    return arena.take(shape, name, wide(params.dtype));
  }
  // The trainer's pass through a model, dropping out at this rate by its batch's samples.
  static Pass of(const Exec& exec, Arena& arena, const Model& model, const TrainPass& args, double dropout = 0) {
    return {.exec = exec,
            .arena = arena,
            .layout = model.layout(),
            .state_layout = &model.state_layout(),
            .params = args.params,
            .grads = args.grads,
            .accumulate = args.accumulate,
            .sums = args.sums.view({1, kNumTrainSums}),
            .statistics = args.statistics,
            .ready = &args.ready,
            .dropout = {.p = float(dropout),
                        .seed = args.seed,
                        .step = args.attempted_step,
                        .sample_ids = args.batch.sample_ids().as<int32_t>(),
                        .num_samples = args.batch.num_samples()}};
  }
  static Pass of(const Exec& exec, Arena& arena, const Model& model, const EvalPass& args) {
    return {.exec = exec,
            .arena = arena,
            .layout = model.layout(),
            .state_layout = &model.state_layout(),
            .params = args.params,
            .sums = args.sums,
            .state = args.state,
            .dropout = {}};
  }

  bool trains() const { return ready != nullptr; }
  void announce(ParamId id) const { (*ready)(id); }
  Dropout dropout_at(uint32_t site) const {
    Dropout d = dropout;
    d.site = site;
    return d;
  }
};

}  // namespace ddp
