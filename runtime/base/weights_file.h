// What model.init_from may name: a safetensors file, the index of one in shards, or a folder with one of them, as
// Hugging Face keeps models. The launcher looks before the fork, by the same lines as the rank that reads.
#pragma once

#include <filesystem>
#include <string>

#include "runtime/base/fs.h"

namespace ddp {

struct WeightsFile {
  std::filesystem::path path;
  bool is_index = false;  // JSON that names the shards; else a safetensors file, as far as its first bytes tell
};

// Errors: no_input (66) naming what is missing, or what a folder has in its place; data (65) saying what the file seems
// to be.
WeightsFile find_weights(const std::filesystem::path& named);

// The first bytes of a file, as many as recognise_foreign looks at. Errors: no_input (66), io (74).
std::string first_bytes(const Fd& file, const std::filesystem::path& path);

// What is not a safetensors file is one error: data (65) naming the file, what it seems to be, and what to do.
void check_not_foreign(std::string_view beginning, const std::filesystem::path& path);

}  // namespace ddp
