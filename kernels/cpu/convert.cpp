#include "kernels/cpu/convert.h"

#include <algorithm>

#include "kernels/cpu/run.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/storage.h"
#include "kernels/cpu/vec.h"
#include "kernels/ops/elementwise.h"
#include "runtime/device/cpu_device.h"

namespace ddp::cpu {
namespace {

template <class Y, class X>
void convert(ThreadPool& pool, Y* y, const X* x, int64_t n) {
  constexpr int64_t kBlock = 32768;  // elements
  pool.parallel_for(ceil_div(n, kBlock), [=](int64_t block) {
    const int64_t end = std::min(n, (block + 1) * kBlock);
    for (int64_t i = block * kBlock; i < end; i += kVecWidth) store(y + i, load(x + i, end - i), end - i);
  });
}

}  // namespace

void convert(ThreadPool& pool, const TensorView& y, const TensorView& x) {
  with_storage(x.dtype, [&](auto from) {
    with_storage(y.dtype, [&](auto to) { convert(pool, y.as<decltype(to)>(), x.as<decltype(from)>(), x.numel()); });
  });
}

template <>
void run(Stream& stream, const Cast& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { convert(pool, a.y, a.x); });
}

}  // namespace ddp::cpu
