// What a file is by its first bytes, so that one which was given in the place of another is refused by name: a download
// that brought a web page, an archive that was not unpacked, an array of another library. Nothing is opened for it: a
// pickle is a program.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/base/fs.h"

namespace ddp {

inline constexpr size_t kKindBytes = 512;  // that are looked at; a shorter file has fewer
inline constexpr const char* kFetchPointer = "fetch it with git lfs pull";

// What there is to do about kinds of one class is the same.
enum class FileClass {
  unknown,
  safetensors,
  empty,
  text,
  json_object,  // or several
  json_array,
  web_page,  // XML too, in which errors of a server come
  lfs_pointer,
  packed,
  pickle,
  numpy_array,
  numpy_arrays,
  weights,  // of another format
  other,
};

struct FileKind {
  FileClass type = FileClass::unknown;
  std::string_view name;  // with its article: "a gzip archive"; empty where unknown
};

// At most kKindBytes of a file. Errors: no_input (66) where it is no regular file, io (74).
std::vector<std::byte> first_bytes(const Fd& file, const std::filesystem::path& path);

// Of a file that may hold anything, tokens too: of magic numbers and signatures alone. Text without one is unknown
// (is_text).
FileKind kind_of_file(std::span<const std::byte> first_bytes);

// Of a file that is to be a safetensors file. Unknown where it may be one, whatever its header's length looks like, or
// may be anything. Less is needed for a kind than among tokens: an empty file, plain text, and whatever begins as a
// pickle have one.
FileKind kind_if_not_safetensors(std::span<const std::byte> first_bytes);

// Without control characters but those of text, in UTF-8, or mostly ASCII, as Latin-1's languages are. A character that
// the end cuts off may be there.
bool is_text(std::span<const std::byte> bytes);

}  // namespace ddp
