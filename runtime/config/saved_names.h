// How a model's parameters appear outside: in model.safetensors, in the optimizer's file beside it, and in published
// files. A parameter that is not mentioned appears under its own name, whole. Plain data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ddp {

// A saved tensor that is a parameter, or rows of one: without the padding, its dimensions permuted. Dimension i of the
// saved tensor is dimension permutation[i] of the parameter (KRSC saved as OIHW: {0, 3, 1, 2}; empty: as they are), and
// of the parameter so permuted it holds rows [first_row, first_row + num_rows) of the first dimension. The tensors of
// one parameter hold each of its rows once, and have one permutation.
struct SavedPart {
  std::string saved;
  std::string param;
  int64_t first_row = 0, num_rows = -1;  // -1: all from first_row on
  std::vector<int> permutation = {};
};

// Of files that others wrote.
struct SavedAlias {
  std::string theirs, saved;
};

struct SavedNames {
  std::vector<SavedPart> parts = {};
  // For model.init_from alone, in this order: a prefix that a name may begin with is taken away, then an alias becomes
  // the saved name. Then what is unknown and stands in the last list is passed over: buffers, tied weights, of whatever
  // type. An entry that begins with a dot is the end of a name, any other a whole one.
  std::vector<std::string> prefixes = {};
  std::vector<SavedAlias> aliases = {};
  std::vector<std::string> passed_over = {};
};

}  // namespace ddp
