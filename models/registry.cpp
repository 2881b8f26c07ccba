#include "models/registry.h"

#include "models/gpt2/make.h"
#include "models/gpt2/options/options.h"

namespace ddp {
namespace {

constexpr ModelMaker kMakers[] = {
    {&gpt2::kKind, gpt2::make},
};

}  // namespace

ModelMakers model_makers() { return kMakers; }

std::unique_ptr<Model> make_model(const Config& config, DeviceKind device, ModelMakers makers) {
  for (const ModelMaker& maker : makers)
    if (maker.kind->name == config.model.name) return maker.make(config, device);
  throw Error(ExitCode::config, fmt::format("model.name: no model \"{}\" in this program", config.model.name));
}

}  // namespace ddp
