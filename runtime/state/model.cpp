#include "runtime/state/model.h"

namespace ddp {

const ParamLayout& Model::state_layout() const {
  static const ParamLayout kNone;
  return kNone;
}

}  // namespace ddp
