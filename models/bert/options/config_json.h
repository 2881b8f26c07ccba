// config.json of Hugging Face's transformers (BertConfig): what stands beside a model.safetensors there.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "runtime/config/config.h"

namespace ddp::bert {

// That of the configuration's model, so that BertForMaskedLM or BertForSequenceClassification loads its weights.
std::map<std::string, std::string> export_files(const Config& config);

// What such a file says of a configuration. Task and classes are as the weights have them unless they are given: a head
// may start anew. `name` stands for the file in errors. Errors: config (78) for what is no such file, and by name for
// what this BERT cannot compute.
ImportedConfig import_json(std::string_view text, const std::string& name);

}  // namespace ddp::bert
