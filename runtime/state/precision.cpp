#include "runtime/state/precision.h"

namespace ddp {

Precision precision_of(const TrainConfig& config) {
  Precision p;
  switch (config.precision) {
    case PrecisionName::fp32:
      break;
    case PrecisionName::tf32:
      p.tf32 = true;
      break;
    case PrecisionName::bf16:
      p.storage = DType::bf16;
      break;
    case PrecisionName::fp16:
      p.storage = DType::f16;
      break;
  }
  switch (config.grad_dtype) {
    case GradDtype::automatic:
      if (!config.deterministic) p.gradients = p.storage;
      break;
    case GradDtype::fp32:
      break;
  }
  return p;
}

}  // namespace ddp
