#include "models/options_registry.h"

#include "models/gpt2/options/options.h"

namespace ddp {
namespace {

constexpr const ModelKind* kModels[] = {
    &gpt2::kKind,
};
constexpr ConfigRegistry kRegistry = {.models = kModels};

}  // namespace

const ConfigRegistry& config_registry() { return kRegistry; }

}  // namespace ddp
