#include "models/registry.h"

#include "models/gpt2/gpt2.h"

namespace ddp {

std::unique_ptr<Model> make_model(const ModelConfig& config) {
  if (config.name == "gpt2")
    return std::make_unique<gpt2::Gpt2>(gpt2::Options{.layers = config.layers,
                                                      .heads = config.heads,
                                                      .width = config.width,
                                                      .context = config.context,
                                                      .vocab = config.vocab,
                                                      .dropout = float(config.dropout),
                                                      .tie_embeddings = config.tie_embeddings});
  throw Error(ExitCode::config, fmt::format("model.name: no model \"{}\"", config.name), "there is gpt2");
}

}  // namespace ddp
