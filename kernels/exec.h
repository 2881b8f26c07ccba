// Where and how ops run, and who watches them.
#pragma once

#include <cstdint>

#include "runtime/device/device.h"

namespace ddp {

class OpTable;

struct OpInfo {
  const char* name = "";
  int64_t flops = 0;  // multiply and add count as two; of products only, causal attention counted as it is computed
  int64_t bytes = 0;  // of the arguments, each once
};

// Sees every op as it is enqueued: the dry run counts, the timer records events around.
class OpObserver {
 public:
  virtual ~OpObserver() = default;
  virtual void before(const OpInfo& info, Stream& stream) = 0;
  virtual void after(const OpInfo& info, Stream& stream) = 0;
};

// Where and how ops run. Copied by value.
struct Exec {
  const OpTable* table = nullptr;
  Stream* stream = nullptr;
  OpObserver* observer = nullptr;
};

}  // namespace ddp
