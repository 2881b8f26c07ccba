// What a file is by its first bytes, so that one which was given in the place of another is refused by name: a download
// that brought a web page, an archive that was not unpacked, an array of another library.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace ddp {

inline constexpr size_t kKindBytes = 512;  // that are looked at; a shorter file has fewer
inline constexpr std::string_view kSafetensors = "a safetensors file";
inline constexpr std::string_view kUtf16 = "text in UTF-16";
inline constexpr std::string_view kLfsPointer = "a Git LFS pointer, which stands for a file that was not fetched";

// With its article: "a gzip archive". Empty: no kind that is known here. Of magic numbers and signatures alone; a kind
// of text is known by the text that begins it (is_text).
std::string_view kind_of_file(std::span<const std::byte> first_bytes);

// Without control characters but those of text, in UTF-8, or mostly ASCII, as Latin-1's languages are. A character that
// the end cuts off may be there.
bool is_text(std::span<const std::byte> bytes);

}  // namespace ddp
