// config.json of Hugging Face's transformers (GPT2Config): what stands beside a model.safetensors there.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "runtime/config/config.h"

namespace ddp::gpt2 {

// That of the configuration's model, so that GPT2LMHeadModel loads its weights, and generation_config.json.
std::map<std::string, std::string> export_files(const Config& config);

// What such a file says of a configuration. `name` stands for it in errors. Errors: config (78) for what is no such
// file, and by name for what this GPT-2 cannot compute.
ImportedConfig import_json(std::string_view text, const std::string& name);

}  // namespace ddp::gpt2
