#include "kernels/ops.h"

#include <initializer_list>

#include "kernels/op_table.h"
#include "runtime/device/cpu_device.h"

namespace ddp {
namespace {

using Views = std::initializer_list<TensorView>;

void check_shape(const char* op, const char* name, const TensorView& x, const Shape& shape, DType dtype = DType::f32) {
  DDP_CHECK(x && x.dtype == dtype && x.shape == shape, "{}: {} is {} {}, expected {} {}", op, name, dtype_name(x.dtype),
            x.shape.text(), dtype_name(dtype), shape.text());
}

void check_optional(const char* op, const char* name, const TensorView& x, const Shape& shape, DType dtype) {
  if (x) check_shape(op, name, x, shape, dtype);
}

// S, the type of a call's parameters and activations: that of `x`.
DType storage_type(const char* op, const Exec& exec, const TensorView& x) {
  DDP_CHECK(exec.table->storage.has(x.dtype), "{}: this backend does not compute with {}", op, dtype_name(x.dtype));
  return x.dtype;
}

// A weight gradient: f32 or, where it is written and not added to, S.
void check_weight_grad(const char* op, const char* name, const TensorView& dw, const Shape& shape, DType s,
                       bool accumulate) {
  check_shape(op, name, dw, shape, dw.dtype == DType::f32 || accumulate ? wide(s) : s);
}

void check_dropout(const char* op, const Dropout& d, int64_t heads = 1) {
  DDP_CHECK(d.p >= 0.0f && d.p < 1.0f, "{}: dropout {}", op, d.p);
  if (d.p == 0.0f) return;
  DDP_CHECK(d.step != nullptr && d.sample_ids != nullptr, "{}: dropout without step and sample ids", op);
  DDP_CHECK(d.site < (1u << 24) && heads <= (1 << 8), "{}: dropout at site {} of {} heads", op, d.site, heads);
}

// Rows of a tensor whose last dimension is C, as (rows, C).
TensorView as_rows(const char* op, const TensorView& x) {
  DDP_CHECK(x && x.shape.rank >= 1, "{}: an empty tensor", op);
  const int64_t c = x.dim(x.shape.rank - 1);
  return x.view({c == 0 ? 0 : x.numel() / c, c});
}

// Counts, annotates and hands over. `reads` and `writes` name every tensor argument; one that is "+=" is a write.
template <class Args>
void submit(const Exec& exec, const char* name, int64_t flops, void (*entry)(Stream&, const Args&), const Args& args,
            Views reads, Views writes) {
  OpInfo info{.name = name, .flops = flops, .bytes = 0};
  for (const TensorView& x : reads) info.bytes += x ? x.bytes() : 0;
  for (const TensorView& x : writes) info.bytes += x ? x.bytes() : 0;
  if (exec.observer != nullptr) exec.observer->before(info, *exec.stream);
  cpu_note_access(*exec.stream, reads, writes);
  entry(*exec.stream, args);
  if (exec.observer != nullptr) exec.observer->after(info, *exec.stream);
}

struct LinearShape {
  int64_t m, k, n;
  Shape w;
};

LinearShape linear_shape(const TensorView& x, const TensorView& y, bool w_transposed) {
  DDP_CHECK(x.shape.rank == 2 && y.shape.rank == 2, "linear: x {} and y {}", x.shape.text(), y.shape.text());
  const int64_t m = x.dim(0), k = x.dim(1), n = y.dim(1);
  return {m, k, n, w_transposed ? Shape{n, k} : Shape{k, n}};
}

// Products of causal attention, computed blocks only: T (T + 1) / 2 scores a head, D wide.
int64_t attention_flops(const TensorView& qkv, int products) {
  const int64_t b = qkv.dim(0), t = qkv.dim(1), c = qkv.dim(2) / 3;
  return 2 * products * b * c * (t * (t + 1) / 2);
}

}  // namespace

void linear_forward(const Exec& exec, const LinearForward& a) {
  constexpr const char* kOp = "linear_forward";
  const DType type = storage_type(kOp, exec, a.x);
  const LinearShape s = linear_shape(a.x, a.y, a.w_transposed);
  check_shape(kOp, "x", a.x, {s.m, s.k}, type);
  check_shape(kOp, "y", a.y, {s.m, s.n}, type);
  check_shape(kOp, "w", a.w, s.w, type);
  check_optional(kOp, "bias", a.bias, {s.n}, type);
  submit(exec, kOp, 2 * s.m * s.k * s.n, exec.table->linear_forward, a, {a.x, a.w, a.bias}, {a.y});
}

void linear_backward_input(const Exec& exec, const LinearBackwardInput& a) {
  constexpr const char* kOp = "linear_backward_input";
  const DType type = storage_type(kOp, exec, a.dy);
  const LinearShape s = linear_shape(a.dx, a.dy, a.w_transposed);
  check_shape(kOp, "dx", a.dx, {s.m, s.k}, type);
  check_shape(kOp, "dy", a.dy, {s.m, s.n}, type);
  check_shape(kOp, "w", a.w, s.w, type);
  submit(exec, kOp, 2 * s.m * s.k * s.n, exec.table->linear_backward_input, a, {a.dy, a.w}, {a.dx});
}

void linear_backward_weight(const Exec& exec, const LinearBackwardWeight& a) {
  constexpr const char* kOp = "linear_backward_weight";
  const DType type = storage_type(kOp, exec, a.x);
  const LinearShape s = linear_shape(a.x, a.dy, a.w_transposed);
  check_shape(kOp, "x", a.x, {s.m, s.k}, type);
  check_shape(kOp, "dy", a.dy, {s.m, s.n}, type);
  check_weight_grad(kOp, "dw", a.dw, s.w, type, a.accumulate);
  check_optional(kOp, "db", a.db, {s.n}, a.dw.dtype);
  submit(exec, kOp, 2 * s.m * s.k * s.n, exec.table->linear_backward_weight, a, {a.x, a.dy}, {a.dw, a.db});
}

void layernorm_forward(const Exec& exec, const LayerNormForward& args) {
  constexpr const char* kOp = "layernorm_forward";
  LayerNormForward a = args;
  a.residual_in = as_rows(kOp, a.residual_in);
  const DType type = storage_type(kOp, exec, a.residual_in);
  const int64_t m = a.residual_in.dim(0), c = a.residual_in.dim(1);
  a.y = as_rows(kOp, a.y);
  check_shape(kOp, "y", a.y, {m, c}, type);
  check_shape(kOp, "mean", a.mean, {m}, wide(type));
  check_shape(kOp, "rstd", a.rstd, {m}, wide(type));
  check_shape(kOp, "w", a.w, {c}, type);
  check_shape(kOp, "b", a.b, {c}, type);
  if (a.branch) {
    a.branch = as_rows(kOp, a.branch);
    a.residual_out = as_rows(kOp, a.residual_out);
    check_shape(kOp, "branch", a.branch, {m, c}, type);
    check_shape(kOp, "residual_out", a.residual_out, {m, c}, type);
    check_dropout(kOp, a.dropout);
  }
  submit(exec, kOp, 0, exec.table->layernorm_forward, a, {a.residual_in, a.branch, a.w, a.b},
         {a.residual_out, a.y, a.mean, a.rstd});
}

void layernorm_backward(const Exec& exec, const LayerNormBackward& args) {
  constexpr const char* kOp = "layernorm_backward";
  LayerNormBackward a = args;
  a.x = as_rows(kOp, a.x);
  const DType type = storage_type(kOp, exec, a.x);
  const int64_t m = a.x.dim(0), c = a.x.dim(1);
  a.dy = as_rows(kOp, a.dy);
  a.dresidual = as_rows(kOp, a.dresidual);
  check_shape(kOp, "dy", a.dy, {m, c}, type);
  check_shape(kOp, "dresidual", a.dresidual, {m, c}, type);
  if (a.dbranch) {
    a.dbranch = as_rows(kOp, a.dbranch);
    check_shape(kOp, "dbranch", a.dbranch, {m, c}, type);
    check_dropout(kOp, a.dropout);
  }
  check_shape(kOp, "mean", a.mean, {m}, wide(type));
  check_shape(kOp, "rstd", a.rstd, {m}, wide(type));
  check_shape(kOp, "w", a.w, {c}, type);
  check_weight_grad(kOp, "dw", a.dw, {c}, type, a.accumulate);
  check_shape(kOp, "db", a.db, {c}, a.dw.dtype);
  DDP_CHECK(a.workspace && a.workspace.bytes() >= layernorm_workspace(m, c), "{}: workspace of {} bytes", kOp,
            a.workspace.bytes());
  submit(exec, kOp, 0, exec.table->layernorm_backward, a, {a.dy, a.x, a.mean, a.rstd, a.w},
         {a.dresidual, a.dbranch, a.dw, a.db, a.workspace});
}

void gelu_forward(const Exec& exec, const GeluForward& a) {
  check_shape("gelu_forward", "y", a.y, a.x.shape, storage_type("gelu_forward", exec, a.x));
  submit(exec, "gelu_forward", 0, exec.table->gelu_forward, a, {a.x}, {a.y});
}

void gelu_backward(const Exec& exec, const GeluBackward& a) {
  const DType type = storage_type("gelu_backward", exec, a.x);
  check_shape("gelu_backward", "dy", a.dy, a.x.shape, type);
  check_shape("gelu_backward", "dx", a.dx, a.x.shape, type);
  submit(exec, "gelu_backward", 0, exec.table->gelu_backward, a, {a.dy, a.x}, {a.dx});
}

void attention_forward(const Exec& exec, const AttentionForward& a) {
  constexpr const char* kOp = "attention_forward";
  DDP_CHECK(a.qkv.shape.rank == 3 && a.qkv.dim(2) % (3 * a.heads) == 0, "{}: qkv {}, {} heads", kOp, a.qkv.shape.text(),
            a.heads);
  const int64_t b = a.qkv.dim(0), t = a.qkv.dim(1), c = a.qkv.dim(2) / 3;
  const DType type = storage_type(kOp, exec, a.qkv);
  check_shape(kOp, "out", a.out, {b, t, c}, type);
  check_shape(kOp, "lse", a.lse, {b, a.heads, t}, wide(type));
  check_dropout(kOp, a.dropout, a.heads);
  submit(exec, kOp, attention_flops(a.qkv, 2), exec.table->attention_forward, a, {a.qkv}, {a.out, a.lse});
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
  check_dropout(kOp, a.dropout, a.heads);
  DDP_CHECK(a.workspace && a.workspace.bytes() >= attention_workspace(b, t, a.heads), "{}: workspace of {} bytes", kOp,
            a.workspace.bytes());
  submit(exec, kOp, attention_flops(a.qkv, 5), exec.table->attention_backward, a, {a.dout, a.out, a.qkv, a.lse},
         {a.dqkv, a.workspace});
}

void embedding_forward(const Exec& exec, const EmbeddingForward& a) {
  constexpr const char* kOp = "embedding_forward";
  DDP_CHECK(a.tokens.shape.rank == 2 && a.wte.shape.rank == 2, "{}: tokens {}", kOp, a.tokens.shape.text());
  const DType type = storage_type(kOp, exec, a.wte);
  const int64_t b = a.tokens.dim(0), t = a.tokens.dim(1), c = a.wte.dim(1);
  check_shape(kOp, "tokens", a.tokens, {b, t}, DType::i32);
  check_shape(kOp, "out", a.out, {b, t, c}, type);
  DDP_CHECK(a.wpe.shape.rank == 2 && a.wpe.dim(0) >= t, "{}: wpe {}", kOp, a.wpe.shape.text());
  check_shape(kOp, "wpe", a.wpe, {a.wpe.dim(0), c}, type);
  check_dropout(kOp, a.dropout);
  submit(exec, kOp, 0, exec.table->embedding_forward, a, {a.tokens, a.wte, a.wpe}, {a.out});
}

void embedding_backward(const Exec& exec, const EmbeddingBackward& a) {
  constexpr const char* kOp = "embedding_backward";
  DDP_CHECK(a.tokens.shape.rank == 2 && a.dwte.shape.rank == 2, "{}: tokens {}", kOp, a.tokens.shape.text());
  const DType type = storage_type(kOp, exec, a.dout);
  const int64_t b = a.tokens.dim(0), t = a.tokens.dim(1), c = a.dwte.dim(1);
  check_shape(kOp, "tokens", a.tokens, {b, t}, DType::i32);
  check_shape(kOp, "dout", a.dout, {b, t, c}, type);
  check_shape(kOp, "dwte", a.dwte, {a.dwte.dim(0), c}, wide(type));
  DDP_CHECK(a.dwpe.shape.rank == 2 && a.dwpe.dim(0) >= t, "{}: dwpe {}", kOp, a.dwpe.shape.text());
  check_weight_grad(kOp, "dwpe", a.dwpe, {a.dwpe.dim(0), c}, type, a.accumulate);
  if (a.order) check_shape(kOp, "order", a.order, {b * t}, DType::i32);
  check_dropout(kOp, a.dropout);
  submit(exec, kOp, 0, exec.table->embedding_backward, a, {a.tokens, a.order, a.dout}, {a.dwte, a.dwpe});
}

void cross_entropy(const Exec& exec, const CrossEntropy& a) {
  constexpr const char* kOp = "cross_entropy";
  DDP_CHECK(a.logits.shape.rank == 2 && a.live_columns >= 1 && a.live_columns <= a.logits.dim(1),
            "{}: logits {}, {} live", kOp, a.logits.shape.text(), a.live_columns);
  const int64_t m = a.logits.dim(0);
  check_shape(kOp, "loss", a.loss, {m}, wide(storage_type(kOp, exec, a.logits)));
  check_shape(kOp, "targets", a.targets, {m}, DType::i32);
  submit(exec, kOp, 0, exec.table->cross_entropy, a, {a.targets}, {a.logits, a.loss});
}

void sum_into(const Exec& exec, const SumInto& a) {
  check_shape("sum_into", "out", a.out, {1}, DType::f64);
  check_shape("sum_into", "x", a.x, {a.x.numel()});
  submit(exec, "sum_into", 0, exec.table->sum_into, a, {a.x}, {a.out});
}

void add_into(const Exec& exec, const AddInto& a) {
  DDP_CHECK(a.x.dtype == DType::f32 || a.x.dtype == DType::f64, "add_into of {}", dtype_name(a.x.dtype));
  check_shape("add_into", "y", a.y, a.x.shape, a.x.dtype);
  submit(exec, "add_into", 0, exec.table->add_into, a, {a.x}, {a.y});
}

void cast(const Exec& exec, const Cast& a) {
  check_shape("cast", "y", a.y, a.x.shape, storage_type("cast", exec, a.y));
  check_shape("cast", "x", a.x, {a.x.numel()}, storage_type("cast", exec, a.x));
  submit(exec, "cast", 0, exec.table->cast, a, {a.x}, {a.y});
}

void sum_squares(const Exec& exec, const SumSquares& a) {
  const int64_t chunks = a.partials.numel();
  check_shape("sum_squares", "partials", a.partials, {chunks}, DType::f64);
  check_shape("sum_squares", "x", a.x, {a.x.numel()}, storage_type("sum_squares", exec, a.x));
  check_shape("sum_squares", "chunk_begin", a.chunk_begin, {chunks + 1}, DType::i64);
  submit(exec, "sum_squares", 0, exec.table->sum_squares, a, {a.x, a.chunk_begin}, {a.partials});
}

void find_non_finite(const Exec& exec, const FindNonFinite& a) {
  check_shape("find_non_finite", "mark", a.mark, {1}, DType::f64);
  check_shape("find_non_finite", "partials", a.partials, {a.partials.numel()}, DType::f64);
  submit(exec, "find_non_finite", 0, exec.table->find_non_finite, a, {a.partials}, {a.mark});
}

void step_finalize(const Exec& exec, const StepFinalize& a) {
  check_shape("step_finalize", "partials", a.partials, {a.partials.numel()}, DType::f64);
  DDP_CHECK(a.loss_votes.numel() >= kFirstMark, "step_finalize: loss_votes {}", a.loss_votes.shape.text());
  check_shape("step_finalize", "loss_votes", a.loss_votes, {a.loss_votes.numel()}, DType::f64);
  check_shape("step_finalize", "lr_table", a.lr_table, {a.lr_table.numel()});
  DDP_CHECK(a.scalars != nullptr && a.metrics != nullptr, "step_finalize without its records");
  submit(exec, "step_finalize", 0, exec.table->step_finalize, a, {a.partials, a.loss_votes, a.lr_table}, {});
}

void adamw(const Exec& exec, const AdamW& a) {
  const int64_t n = a.p.numel(), chunks = a.chunk_decay.numel();
  for (const TensorView* x : {&a.p, &a.m, &a.v}) check_shape("adamw", "p, m, v", *x, {n});
  check_shape("adamw", "g", a.g, {n}, storage_type("adamw", exec, a.g));
  check_optional("adamw", "rounded", a.rounded, {n}, a.rounded.dtype);
  check_shape("adamw", "chunk_begin", a.chunk_begin, {chunks + 1}, DType::i64);
  check_shape("adamw", "chunk_decay", a.chunk_decay, {chunks});
  DDP_CHECK(a.scalars != nullptr, "adamw without scalars");
  submit(exec, "adamw", 0, exec.table->adamw, a, {a.g, a.chunk_begin, a.chunk_decay}, {a.p, a.m, a.v, a.rounded});
}

const OpTable& op_table(DeviceKind kind) {
  DDP_CHECK(kind == DeviceKind::cpu || kind == DeviceKind::meta, "this build has no op table of device kind {}",
            int(kind));
  return kind == DeviceKind::cpu ? cpu_op_table() : meta_op_table();
}

}  // namespace ddp
