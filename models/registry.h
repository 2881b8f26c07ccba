// From a configuration to a model: a table of what makes each, which the caller passes as a value, so that a test's
// programs make models of a longer one. The product's table holds `NAME::make`, a ModelMaker::make, of each model that
// models/meson.build lists.
#pragma once

#include <memory>
#include <span>

#include "runtime/config/config.h"
#include "runtime/state/model.h"

namespace ddp {

struct ModelMaker {
  const ModelKind* kind;
  // The model as it runs on a device of this kind in the precision of config.train.
  std::unique_ptr<Model> (*make)(const Config& config, DeviceKind device);
};

using ModelMakers = std::span<const ModelMaker>;
ModelMakers model_makers();  // of every model in the configurations' registry (options_registry.h)

// The model of the configuration, which is one of `makers`.
std::unique_ptr<Model> make_model(const Config& config, DeviceKind device = DeviceKind::cpu,
                                  ModelMakers makers = model_makers());

}  // namespace ddp
