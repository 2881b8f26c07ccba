#include "models/layers/self_attention.h"

#include <fmt/core.h>

#include "runtime/base/error.h"

namespace ddp {

void SelfAttention::forward(const Pass& pass, Saved& saved, const TensorView& y, const TensorView& x, int64_t batch,
                            const TensorView& lengths) const {
  const int64_t m = x.dim(0), c = x.dim(1), t = m / batch;
  saved.qkv = pass.take({batch, t, 3 * c}, "qkv");
  qkv.forward(pass, saved.qkv.view().view({m, 3 * c}), x);
  saved.lse = pass.take_wide({batch, heads, t}, "lse");
  saved.out = pass.take({batch, t, c}, "attention");
  attention_forward(pass.exec, {.out = saved.out,
                                .lse = saved.lse,
                                .qkv = saved.qkv,
                                .lengths = lengths,
                                .heads = heads,
                                .causal = causal,
                                .dropout = pass.dropout_at(site)});
  proj.forward(pass, y, saved.out.view().view({m, c}));
}

ArenaTensor SelfAttention::backward(const Pass& pass, Saved& saved, const TensorView& dy, int64_t batch,
                                    const TensorView& lengths) const {
  const int64_t m = dy.dim(0), c = dy.dim(1), t = m / batch;
  proj.backward_weight(pass, saved.out.view().view({m, c}), dy);
  ArenaTensor dqkv = pass.take({m, 3 * c}, "dqkv");
  const ArenaTensor dout = pass.take({batch, t, c}, "dattention");
  proj.backward_input(pass, dout.view().view({m, c}), dy);
  const ArenaTensor workspace =
      pass.arena.take({attention_workspace(batch, t, heads)}, "attention workspace", DType::u8);
  attention_backward(pass.exec, {.dqkv = dqkv.view().view({batch, t, 3 * c}),
                                 .dout = dout,
                                 .out = saved.out,
                                 .qkv = saved.qkv,
                                 .lse = saved.lse,
                                 .workspace = workspace,
                                 .lengths = lengths,
                                 .heads = heads,
                                 .causal = causal,
                                 .dropout = pass.dropout_at(site)});
  saved = {};
  return dqkv;
}

void check_heads(int64_t width, int64_t heads, DeviceKind device) {
  const int64_t head = width / heads;
  if (device == DeviceKind::cuda && (head % 8 != 0 || head > 128))
    throw Error(ExitCode::config,
                fmt::format("attention heads are {} wide, on CUDA that must be a multiple of 8, at most 128", head),
                fmt::format("choose another number of heads: the model's width is {}", width));
}

}  // namespace ddp
