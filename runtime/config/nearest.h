// "Did you mean": the known word closest to a mistyped one, by edit distance.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace ddp {

// Levenshtein distance in bytes; an upper-case letter is as good as its lower-case one.
size_t edit_distance(std::string_view a, std::string_view b);

// The candidate with the smallest distance to `word`; the first of equals. `candidates` is not empty.
std::string nearest_word(std::string_view word, std::span<const std::string> candidates);

}  // namespace ddp
