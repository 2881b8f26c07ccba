// What the front doors of all ops check, and how they hand over.
#pragma once

#include <initializer_list>

#include "kernels/op_table.h"
#include "runtime/device/cpu_device.h"

namespace ddp {

using Views = std::initializer_list<TensorView>;

inline void check_shape(const char* op, const char* name, const TensorView& x, const Shape& shape,
                        DType dtype = DType::f32) {
  DDP_CHECK(x && x.dtype == dtype && x.shape == shape, "{}: {} is {} {}, expected {} {}", op, name, dtype_name(x.dtype),
            x.shape.text(), dtype_name(dtype), shape.text());
}

inline void check_optional(const char* op, const char* name, const TensorView& x, const Shape& shape, DType dtype) {
  if (x) check_shape(op, name, x, shape, dtype);
}

// S, the type of a call's parameters and activations: that of `x`.
inline DType storage_type(const char* op, const Exec& exec, const TensorView& x) {
  DDP_CHECK(exec.table->storage.has(x.dtype), "{}: this backend does not compute with {}", op, dtype_name(x.dtype));
  return x.dtype;
}

// A weight gradient: f32 or, where it is written and not added to, S.
inline void check_weight_grad(const char* op, const char* name, const TensorView& dw, const Shape& shape, DType s,
                              bool accumulate) {
  check_shape(op, name, dw, shape, dw.dtype == DType::f32 || accumulate ? wide(s) : s);
}

inline void check_workspace(const char* op, const TensorView& workspace, int64_t bytes) {
  DDP_CHECK(workspace && workspace.bytes() >= bytes, "{}: workspace of {} bytes, needs {}", op, workspace.bytes(),
            bytes);
}

inline void check_dropout(const char* op, const Dropout& d, int64_t heads = 1) {
  DDP_CHECK(d.p >= 0.0f && d.p < 1.0f, "{}: dropout {}", op, d.p);
  if (d.p == 0.0f) return;
  DDP_CHECK(d.step != nullptr && d.sample_ids != nullptr, "{}: dropout without step and sample ids", op);
  DDP_CHECK(d.site < (1u << 24) && heads <= (1 << 8), "{}: dropout at site {} of {} heads", op, d.site, heads);
}

// Rows of a tensor whose last dimension is C, as (rows, C).
inline TensorView as_rows(const char* op, const TensorView& x) {
  DDP_CHECK(x && x.shape.rank >= 1, "{}: an empty tensor", op);
  const int64_t c = x.dim(x.shape.rank - 1);
  return x.view({c == 0 ? 0 : x.numel() / c, c});
}

// Counts, annotates and hands over to the table's entry. `reads` and `writes` name every tensor argument; one that is
// "+=" is a write.
template <class Args>
void submit(const Exec& exec, const char* name, int64_t flops, const Args& args, Views reads, Views writes) {
  OpInfo info{.name = name, .flops = flops, .bytes = 0};
  for (const TensorView& x : reads) info.bytes += x ? x.bytes() : 0;
  for (const TensorView& x : writes) info.bytes += x ? x.bytes() : 0;
  if (exec.observer != nullptr) exec.observer->before(info, *exec.stream);
  cpu_note_access(*exec.stream, reads, writes);
  exec.table->entry<Args>()(*exec.stream, args);
  if (exec.observer != nullptr) exec.observer->after(info, *exec.stream);
}

}  // namespace ddp
