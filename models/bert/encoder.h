// BERT without a head: the sum of three embeddings, post-norm transformer blocks, and the last block's norm.
#pragma once

#include <string>
#include <vector>

#include "models/bert/block.h"
#include "models/layers/classifier.h"
#include "models/layers/summed_grad.h"

namespace ddp::bert {

class Encoder {
 public:
  // What a pass reads.
  struct Text {
    TensorView tokens, types;  // (B,T) i32
    TensorView lengths = {};   // (B) i32, or empty: no padding
    TensorView order = {};     // (B*T) i32 (models/layers/token_order.h), in training
    int64_t batch() const { return tokens.dim(0); }
    int64_t rows() const { return tokens.numel(); }
  };
  struct Activations {
    std::vector<BlockSaved> blocks;
    LayerNorm::Saved out;  // out.out (M,C): what a head reads; the head may let it go
  };

  // Appends all parameters to the layout, the word embedding last: a head may be tied to it.
  void declare(ParamLayout& layout, const Options& options);
  ParamId word_embedding() const { return word_; }
  // The dropout sites from here on are the head's.
  uint32_t first_free_site() const;

  // keep: for backward.
  Activations forward(const Pass& pass, const Text& text, bool keep) const;
  // From dout (M,C), the gradient of what forward left. dword: of the word embedding, to which the lookups add; zero
  // or a head's part at first. Announces all parameters.
  void backward(const Pass& pass, Activations activations, ArenaTensor dout, SummedGrad& dword, const Text& text) const;

 private:
  int64_t width_ = 0;
  ParamId word_, position_, type_;
  std::vector<Block> blocks_;
  LayerNorm out_;
};

}  // namespace ddp::bert
