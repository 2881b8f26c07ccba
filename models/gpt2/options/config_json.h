// config.json of Hugging Face's transformers (GPT2Config): what stands beside a model.safetensors there.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/config/config.h"

namespace ddp::gpt2 {

// That of the configuration's model, so that GPT2LMHeadModel loads its weights.
std::string export_json(const Config& config);

// The keys that make a configuration of this model of it, as overrides ("model.layers=12"). What the file does not say
// is what GPT2Config takes for it. `name` stands for the file in errors. Errors: config (78) for what is no such file,
// and by name for what this GPT-2 cannot compute.
std::vector<std::string> import_json(std::string_view text, const std::string& name);

}  // namespace ddp::gpt2
