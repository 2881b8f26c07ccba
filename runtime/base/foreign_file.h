// What people name by mistake where weights are wanted: the pointer that Git LFS left in their place, the page that a
// server sent, weights in another format. Read as a safetensors file each is "a header of 2336927755350992246 bytes".
// Recognised by the first bytes alone: a pickle is a program, and never opened.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace ddp {

struct ForeignFile {
  std::string what;  // "a Git LFS pointer"
  std::string hint;  // what to do, may be empty
};

// As many bytes as are looked at.
inline constexpr size_t kRecognisedBytes = 512;

// What a file that begins so seems to be; nothing where it may be a safetensors file, or may be anything. `beginning`
// is shorter than kRecognisedBytes only where the file is.
std::optional<ForeignFile> recognise_foreign(std::string_view beginning);

// JSON is foreign too, but may be the index of a safetensors file in shards.
bool is_json(std::string_view beginning);

}  // namespace ddp
