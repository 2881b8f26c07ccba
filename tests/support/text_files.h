// Small files of text, as BERT learns from them.
#pragma once

#include <filesystem>

#include "runtime/base/fs.h"
#include "tests/support/safetensors_bytes.h"

namespace ddp::test {

// train.bin with its meta.json: a vocabulary of 260, in which each word follows from the one before it.
inline void write_masked_text(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  std::string tokens;
  for (int i = 0; i < 3600; ++i) {
    const auto token = uint16_t(i % 50 == 49 ? 3 : 5 + i * 7 % 255);  // a document of 49 words, [SEP]
    tokens.append(reinterpret_cast<const char*>(&token), sizeof token);
  }
  write_text_atomically(folder / "train.bin", tokens);
  write_text_atomically(folder / "meta.json",
                        R"({"tokenizer": "wordpiece", "vocab": 260, "special": {"cls": 2, "sep": 3, "mask": 4},
                            "files": {"train.bin": {"documents": 72, "tokens": 3600, "bytes": 18000}}})");
}

// 400 texts of 1 to 9 tokens below 70, of two types, in 5 classes.
inline void write_labelled_text(const std::filesystem::path& path) {
  constexpr int kTexts = 400, kWidth = 9;
  IntTensor tokens{"tokens", {kTexts, kWidth}, {}}, types{"types", {kTexts, kWidth}, {}},
      lengths{"lengths", {kTexts}, {}}, labels{"labels", {kTexts}, {}};
  for (int i = 0; i < kTexts; ++i) {
    lengths.values.push_back(1 + i % kWidth);
    labels.values.push_back(i * 3 % 5);
    for (int t = 0; t < kWidth; ++t) {
      tokens.values.push_back((i * 31 + t * 11) % 70);
      types.values.push_back(t > 3);
    }
  }
  write_text_atomically(path, safetensors_bytes({tokens, types, lengths, labels}));
}

}  // namespace ddp::test
