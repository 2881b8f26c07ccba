// Whether the bytes of a file of tokens without a header show that it holds something else: wider or narrower integers,
// integers of another byte order, text. Such a file has tokens below the vocabulary too, and would be trained on in
// silence. What is said of a file must be certain: a real one is never refused, whatever its tokens are (a vocabulary
// of 2, one token throughout, random ones), so each sign needs values that differ.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace ddp {

struct OtherKind {
  std::string_view what;    // "4-byte integers"; empty: tokens, as far as the bytes show
  std::string_view remedy;  // what to do about it
};

// Of blocks of the file, each of a multiple of 8 bytes and from an offset that is one, read as tokens of `token_bytes`
// (2 or 4) below `vocab`.
OtherKind find_other_kind(std::span<const std::span<const std::byte>> blocks, int64_t token_bytes, int64_t vocab);

}  // namespace ddp
