#include "models/bert/bert.h"
#include "models/registry.h"
#include "runtime/state/precision.h"

namespace ddp::bert {

// models/registry.h
std::unique_ptr<Model> make(const Config& config, DeviceKind device) {
  const auto& options = options_of<Options>(config);
  check_heads(options.width, options.heads, device);
  return std::make_unique<Bert>(options, vocab_rows_at_once(options.vocab, precision_of(config.train).storage, device));
}

}  // namespace ddp::bert
