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

// A tensor that must hold what the saved one does, since the model has only that: a tied classifier beside the
// embedding. Where a file has it alone, it is taken for the saved one.
struct SavedCopy {
  std::string theirs, saved;
  std::string hint = {};  // what to do where the two differ
};

// A tensor that is no weight: a mask, a counter. Where its type could be a weight's it has this shape, -1 for any
// length.
struct SavedBuffer {
  std::string name;
  std::vector<int64_t> shape = {};
};

// A parameter of which a file may hold more rows than the model: the first ones are read.
struct SavedRows {
  std::string saved;
  std::string key;  // that says how many there are
};

struct SavedNames {
  std::vector<SavedPart> parts = {};
  // What model.safetensors, and no other file, puts before each name but `without_prefix`; it is read with and without.
  std::string model_prefix = {}, without_prefix = {};
  // The rest is for model.init_from alone. A prefix may stand before a name or be missing, in the file and in the model
  // alike: names are compared without the first one that they begin with. The model's must differ then too.
  std::vector<std::string> prefixes = {};
  // An entry of the following lists that begins with a dot is the end of a name, any other a whole one.
  std::vector<SavedAlias> aliases = {};
  std::vector<SavedCopy> copies = {};
  std::vector<SavedRows> first_rows = {};
  // What a file may hold beside the model's: of whatever type and in silence; and heads of other tasks, which are
  // named.
  std::vector<SavedBuffer> buffers = {};
  std::vector<std::string> other_heads = {};
  // What a file may lack or have in another shape, such as the head of another task: it keeps its initial values. A
  // parameter in parts does so as a whole, and only where all of them are missing, or all of another shape.
  std::vector<std::string> may_start_anew = {};
};

}  // namespace ddp
