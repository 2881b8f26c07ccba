// meta.json, which scripts/prepare_text.py writes beside the token files of a folder: the size of the tokenizer's
// vocabulary, its special tokens, and of how much text each file is made:
//
//   {"tokenizer": "wordpiece", "vocab": 4096, "special": {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4},
//    "files": {"train.bin": {"documents": 62, "tokens": 123456, "bytes": 4567890}}}
//
// Nothing in it is trusted: a value of another type or out of its range is an error that names the key.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>

namespace ddp {

struct TextMeta {
  struct File {
    int64_t tokens = 0, bytes = 0;  // of the file; of its text as UTF-8
  };

  int64_t vocab = 0;
  std::map<std::string, int32_t, std::less<>> special;  // ids, below vocab
  std::map<std::string, File, std::less<>> files;       // by name

  const File* find(const std::filesystem::path& tokens) const;  // by its name; nullptr where it is not there
};

// `file` stands for the file in errors. Errors: data (65).
TextMeta parse_text_meta(const std::string& text, const std::string& file);

// Where the meta.json of a token file is.
std::filesystem::path text_meta_path(const std::filesystem::path& tokens);

// That of a file of `num_tokens` tokens; nothing where there is none. Errors: no_input (66) where it cannot be read;
// data (65), also where it knows the file with another number of tokens: what it says is then of another file.
std::optional<TextMeta> read_text_meta(const std::filesystem::path& tokens, int64_t num_tokens);

}  // namespace ddp
