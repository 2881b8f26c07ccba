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

// Of files that others wrote. An end of names stands for another end: ".LayerNorm.gamma" for ".LayerNorm.weight".
struct SavedAlias {
  std::string theirs, saved;
};

struct SavedNames {
  std::vector<SavedPart> parts = {};
  // The rest is for model.init_from alone. A prefix may stand before a name or be missing, in the file and in the model
  // alike: names are compared without the first one that they begin with. The model's must differ then too.
  std::vector<std::string> prefixes = {};
  // An entry of the following lists that begins with a dot is the end of a name, any other a whole one.
  std::vector<SavedAlias> aliases = {};
  // What a file may hold beside the model's: buffers, tied weights, of whatever type.
  std::vector<std::string> passed_over = {};
  // What a file may lack or have in another shape, such as the head of another task: it keeps its initial values. A
  // parameter in parts does so as a whole, and only where all of them are missing, or all of another shape.
  std::vector<std::string> may_start_anew = {};
};

}  // namespace ddp
