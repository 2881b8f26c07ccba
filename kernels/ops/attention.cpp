#include "kernels/ops/attention.h"

#include "kernels/ops/front_door.h"

namespace ddp {
namespace {

// Products of attention, D wide: T (T + 1) / 2 scores a head where it is causal, as computed, else T T. Lengths are
// known on the device alone: they count as T.
int64_t attention_flops(const TensorView& qkv, bool causal, int products) {
  const int64_t b = qkv.dim(0), t = qkv.dim(1), c = qkv.dim(2) / 3;
  return 2 * products * b * c * (causal ? t * (t + 1) / 2 : t * t);
}

}  // namespace

void attention_forward(const Exec& exec, const AttentionForward& a) {
  constexpr const char* kOp = "attention_forward";
  DDP_CHECK(a.qkv.shape.rank == 3 && a.qkv.dim(2) % (3 * a.heads) == 0, "{}: qkv {}, {} heads", kOp, a.qkv.shape.text(),
            a.heads);
  const int64_t b = a.qkv.dim(0), t = a.qkv.dim(1), c = a.qkv.dim(2) / 3;
  const DType type = storage_type(kOp, exec, a.qkv);
  check_shape(kOp, "out", a.out, {b, t, c}, type);
  check_shape(kOp, "lse", a.lse, {b, a.heads, t}, wide(type));
  check_optional(kOp, "lengths", a.lengths, {b}, DType::i32);
  check_dropout(kOp, a.dropout, a.heads);
  submit(exec, kOp, attention_flops(a.qkv, a.causal, 2), a, {a.qkv, a.lengths}, {a.out, a.lse});
}

void attention_backward(const Exec& exec, const AttentionBackward& a) {
  constexpr const char* kOp = "attention_backward";
  DDP_CHECK(a.qkv.shape.rank == 3 && a.qkv.dim(2) % (3 * a.heads) == 0, "{}: qkv {}, {} heads", kOp, a.qkv.shape.text(),
            a.heads);
  const int64_t b = a.qkv.dim(0), t = a.qkv.dim(1), c = a.qkv.dim(2) / 3;
  const DType type = storage_type(kOp, exec, a.qkv);
  check_shape(kOp, "dqkv", a.dqkv, a.qkv.shape, type);
  check_shape(kOp, "dout", a.dout, {b, t, c}, type);
  check_shape(kOp, "out", a.out, {b, t, c}, type);
  check_shape(kOp, "lse", a.lse, {b, a.heads, t}, wide(type));
  check_optional(kOp, "lengths", a.lengths, {b}, DType::i32);
  check_dropout(kOp, a.dropout, a.heads);
  DDP_CHECK(a.workspace && a.workspace.bytes() >= attention_workspace(b, t, a.heads), "{}: workspace of {} bytes", kOp,
            a.workspace.bytes());
  submit(exec, kOp, attention_flops(a.qkv, a.causal, 5), a, {a.dout, a.out, a.qkv, a.lse, a.lengths},
         {a.dqkv, a.workspace});
}

}  // namespace ddp
