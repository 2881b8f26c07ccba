#include "kernels/ops/embedding.h"

#include "kernels/ops/front_door.h"

namespace ddp {
namespace {

// A (B,T,C) tensor with what is added to it or summed from it: tables by ids, positions.
struct EmbeddingCheck {
  const char* op;
  int64_t b, t, c;

  // `table` and its ids are both given or both absent.
  void lookup(const TensorView& table, const TensorView& ids, DType type) const {
    DDP_CHECK(bool(table) == bool(ids), "{}: a table and its indices come together", op);
    if (!table) return;
    check_table(table, type);
    check_shape(op, "indices", ids, {b, t}, DType::i32);
  }
  void check_table(const TensorView& table, DType type) const {
    DDP_CHECK(table.shape.rank == 2, "{}: table {}", op, table.shape.text());
    check_shape(op, "table", table, {table.dim(0), c}, type);
  }
  void positions(const TensorView& table) const {
    DDP_CHECK(table.shape.rank == 2 && table.dim(0) >= t, "{}: {} of {} positions", op, table.shape.text(), t);
  }
};

EmbeddingCheck embedding_check(const char* op, const TensorView& x, bool any) {
  DDP_CHECK(x.shape.rank == 3, "{}: {}", op, x.shape.text());
  DDP_CHECK(any, "{}: nothing is given", op);
  return {op, x.dim(0), x.dim(1), x.dim(2)};
}

// (N) and (M) rows of whole samples.
template <class Args>
void check_rows(const char* op, const Exec& exec, const Args& a, int64_t n, int64_t m) {
  const DType type = storage_type(op, exec, a.x);
  DDP_CHECK(a.x.dim(1) == a.y.dim(1), "{}: x {}, y {}", op, a.x.shape.text(), a.y.shape.text());
  check_shape(op, "y", a.y, a.y.shape, type);
  check_shape(op, "index", a.index, {n}, DType::i32);
  DDP_CHECK(a.samples >= 1 && n % a.samples == 0 && m % a.samples == 0, "{}: {} and {} rows of {} samples", op, n, m,
            a.samples);
}

}  // namespace

void embedding_forward(const Exec& exec, const EmbeddingForward& a) {
  constexpr const char* kOp = "embedding_forward";
  const EmbeddingCheck check = embedding_check(kOp, a.out, a.wte || a.wpe || a.wtype || a.dense);
  const DType type = storage_type(kOp, exec, a.out);
  check.lookup(a.wte, a.tokens, type);
  check.lookup(a.wtype, a.types, type);
  if (a.wpe) check.check_table(a.wpe, type), check.positions(a.wpe);
  check_optional(kOp, "dense", a.dense, a.out.shape, type);
  check_dropout(kOp, a.dropout);
  submit(exec, kOp, 0, a, {a.tokens, a.wte, a.wpe, a.types, a.wtype, a.dense}, {a.out});
}

void embedding_backward(const Exec& exec, const EmbeddingBackward& a) {
  constexpr const char* kOp = "embedding_backward";
  const EmbeddingCheck check = embedding_check(kOp, a.dout, a.dwte || a.dwpe || a.dwtype || a.ddense);
  const DType type = storage_type(kOp, exec, a.dout);
  check.lookup(a.dwte, a.tokens, wide(type));
  check.lookup(a.dwtype, a.types, wide(type));
  if (a.dwpe) {
    check.positions(a.dwpe);
    check_weight_grad(kOp, "dwpe", a.dwpe, {a.dwpe.dim(0), check.c}, type, a.accumulate);
  }
  check_optional(kOp, "ddense", a.ddense, a.dout.shape, type);
  check_optional(kOp, "order", a.order, {check.b * check.t}, DType::i32);
  check_dropout(kOp, a.dropout);
  submit(exec, kOp, 0, a, {a.tokens, a.types, a.order, a.dout}, {a.dwte, a.dwpe, a.dwtype, a.ddense});
}

void gather_rows(const Exec& exec, const GatherRows& args) {
  GatherRows a = args;
  a.x = as_rows("gather_rows", a.x), a.y = as_rows("gather_rows", a.y);
  check_rows("gather_rows", exec, a, a.y.dim(0), a.x.dim(0));
  submit(exec, "gather_rows", 0, a, {a.x, a.index}, {a.y});
}

void scatter_rows(const Exec& exec, const ScatterRows& args) {
  ScatterRows a = args;
  a.x = as_rows("scatter_rows", a.x), a.y = as_rows("scatter_rows", a.y);
  check_rows("scatter_rows", exec, a, a.x.dim(0), a.y.dim(0));
  submit(exec, "scatter_rows", 0, a, {a.x, a.index}, {a.y});
}

}  // namespace ddp
