// The table of a backend's entries, one an op of ops.h, swapped for the dry run, for timing, or for a naive reference.
// An entry may rely on the checks of the front door. It enqueues on the stream and returns.
#pragma once

#include <tuple>

#include "kernels/ops.h"

namespace ddp {

template <class Args>
using OpEntry = void (*)(Stream&, const Args&);

class OpTable {
 public:
  template <class Args>
  constexpr OpEntry<Args>& entry() {
    return std::get<OpEntry<Args>>(entries_);
  }
  template <class Args>
  constexpr OpEntry<Args> entry() const {
    return std::get<OpEntry<Args>>(entries_);
  }

  DTypeSet storage = {};  // the types S of ops.h that the entries compute with

 private:
  Ops::Each<std::tuple, OpEntry> entries_{};
};

const OpTable& cpu_op_table();
// Enqueues nothing: the dry run's.
const OpTable& meta_op_table();
// Of the CUDA backend's module, and linked nowhere else. tf32: products of f32 on tensor cores, from sm_80 on.
const OpTable& cuda_op_table(bool tf32);
// The table that runs on a device of this kind; not of CUDA, whose table comes with its module.
const OpTable& op_table(DeviceKind kind);

}  // namespace ddp
