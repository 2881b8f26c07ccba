// Where each parameter lies in the flat buffers. Parameters, gradients, master weights and optimizer state share one
// layout, in backward order (the order in which gradients become final), so that an all-reduce bucket is a contiguous
// slice and needs no copy. Pure data: no device memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/config/saved_names.h"
#include "runtime/device/tensor.h"

namespace ddp {

struct ParamId {
  int index = -1;
};

// The initial values of a parameter; padding is zero in any case.
struct Init {
  enum class Kind : uint8_t { constant, normal };
  Kind kind = Kind::constant;
  double value = 0.0;  // the constant; of normal, whose mean is 0, the standard deviation

  static Init constant(double value) { return {Kind::constant, value}; }
  static Init normal(double sigma) { return {Kind::normal, sigma}; }
};

struct Param {
  std::string name;    // e.g. "h.0.attn.c_attn.weight"; outside as the layout's saved names say
  Shape shape;         // as computed with; rank 1 to 4
  Shape live;          // of each dimension what is not padding: its first elements, which alone are saved
  Init init;           // of the live elements
  bool decay = false;  // weight decay applies
  int64_t offset = 0;  // elements from the start of a flat buffer; a multiple of 128 (256 bytes in 16 bits)
  int64_t numel = 0;
  int64_t first_chunk = 0, num_chunks = 0;
};

// Blocks ("chunks") of at most this many elements, cut parameter by parameter, are the unit in which the gradient norm
// is summed and the optimizer runs: fixed by the shapes alone, so that neither bucket size nor ranks nor threads change
// a bit.
inline constexpr int64_t kChunkElements = 16384;

class ParamLayout {
 public:
  // Appends a parameter; call in backward order. live: of each dimension, where some is padding (a vocabulary).
  ParamId add(std::string name, const Shape& shape, bool decay, const Init& init = {}, const Shape& live = {});
  void set_saved_names(SavedNames names) { saved_names_ = std::move(names); }
  const SavedNames& saved_names() const { return saved_names_; }
  const std::vector<Param>& params() const { return params_; }
  const Param& operator[](ParamId id) const { return params_[size_t(id.index)]; }
  int64_t flat_elements() const { return flat_elements_; }  // with padding
  int64_t num_chunks() const { return int64_t(chunk_decay_.size()); }
  // num_chunks() + 1 offsets: chunk s is elements [chunk_begin[s], chunk_begin[s + 1]) of the flat buffer, padding
  // included.
  const std::vector<int64_t>& chunk_begin() const { return chunk_begin_; }
  // 1 where weight decay applies to the chunk, else 0.
  const std::vector<float>& chunk_decay() const { return chunk_decay_; }
  // The parameter that a chunk, or an element of a flat buffer, belongs to.
  const Param& owner_of_chunk(int64_t chunk) const { return owner_of_element(chunk_begin_[size_t(chunk)]); }
  const Param& owner_of_element(int64_t i) const;
  // Parameters of the model as published: without padding.
  int64_t num_parameters() const;
  // The parameter as a view into a flat buffer (flat elements) of any type.
  TensorView view(ParamId id, const TensorView& flat) const;

 private:
  std::vector<Param> params_;
  SavedNames saved_names_;
  int64_t flat_elements_ = 0;
  std::vector<int64_t> chunk_begin_ = {0};
  std::vector<float> chunk_decay_;
};

}  // namespace ddp
