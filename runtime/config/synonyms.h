// Keys by the names that other trainers give them (nanoGPT, llm.c, Hugging Face, Lightning, DeepSpeed): whoever comes
// from there is told the key of this one, and how the value changes where it means something else.
#pragma once

#include <string_view>

namespace ddp {

struct Synonym {
  std::string_view name;  // lower case, with underscores
  std::string_view key;   // ours, in full, or a section; empty: there is none
  std::string_view how;   // how the value is written here, or what to do instead; may be empty where there is a key
};

// By the last part of a key, in whatever section, case and with '-' or '_'; nullptr: none.
const Synonym* find_synonym(std::string_view key);

}  // namespace ddp
