#include "models/registry.h"

#include "models/list.h"

namespace ddp {

#define DDP_DECLARE_MODEL(name)                                         \
  namespace name {                                                      \
  extern const ModelKind kKind;                                         \
  std::unique_ptr<Model> make(const Config& config, DeviceKind device); \
  }
DDP_EACH_MODEL(DDP_DECLARE_MODEL)

namespace {

#define DDP_MAKER(name) {&name::kKind, name::make},
constexpr ModelMaker kMakers[] = {DDP_EACH_MODEL(DDP_MAKER)};

}  // namespace

ModelMakers model_makers() { return kMakers; }

std::unique_ptr<Model> make_model(const Config& config, DeviceKind device, ModelMakers makers) {
  for (const ModelMaker& maker : makers)
    if (maker.kind->name == config.model.name) return maker.make(config, device);
  throw Error(ExitCode::config, fmt::format("model.name: no model \"{}\" in this program", config.model.name));
}

}  // namespace ddp
