#include "runtime/state/precision.h"

namespace ddp {

Precision precision_of(const TrainConfig& config) {
  Precision p;
  p.tf32 = config.precision == "tf32";
  if (config.precision == "fp16") p.storage = DType::f16;
  if (config.precision == "bf16") p.storage = DType::bf16;
  if (config.grad_dtype == "auto" && !config.deterministic) p.gradients = p.storage;
  return p;
}

}  // namespace ddp
