#include "models/options_registry.h"

#include "models/list.h"

namespace ddp {

#define DDP_DECLARE_KIND(name)  \
  namespace name {              \
  extern const ModelKind kKind; \
  }
DDP_EACH_MODEL(DDP_DECLARE_KIND)

namespace {

#define DDP_KIND(name) &name::kKind,
constexpr const ModelKind* kModels[] = {DDP_EACH_MODEL(DDP_KIND)};
constexpr RetiredKey kRetired[] = {
    {.key = "eval.batches", .now = "eval.samples", .times = "train.micro_batch"},  // it counted micro-batches
};
constexpr ConfigRegistry kRegistry = {.models = kModels, .retired = kRetired};

}  // namespace

const ConfigRegistry& config_registry() { return kRegistry; }

}  // namespace ddp
