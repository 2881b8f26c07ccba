// What model.init_from may name: a safetensors file, the index of one in shards, or a folder with one of them, as
// Hugging Face keeps models. The launcher looks before the fork, by the same lines as the rank that reads.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace ddp {

struct WeightsFile {
  std::filesystem::path path;
  bool is_index = false;  // JSON that names the shards; else a safetensors file, as far as its first bytes tell
};

// Errors: no_input (66) naming what is missing, or what a folder has in its place; data (65) saying what the file seems
// to be.
WeightsFile find_weights(const std::filesystem::path& named);

// A file that begins so may be a safetensors file. Errors: data (65) naming the file, what it seems to be, and what to
// do where weights are wanted; without it a web page is "a header of 2336927755350992246 bytes".
void check_may_be_safetensors(std::span<const std::byte> first_bytes, const std::filesystem::path& path);

}  // namespace ddp
