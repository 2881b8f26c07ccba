#include "kernels/ops/embedding.h"

#include "kernels/ops/front_door.h"

namespace ddp {

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
  submit(exec, kOp, 0, a, {a.tokens, a.wte, a.wpe}, {a.out});
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
  submit(exec, kOp, 0, a, {a.tokens, a.order, a.dout}, {a.dwte, a.dwpe});
}

}  // namespace ddp
