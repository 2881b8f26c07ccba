// The attention entries of the op table: checks what the kernels assume and hands over by type.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/run.h"
#include "kernels/dropout.h"
#include "kernels/ops/attention.h"

namespace ddp::cuda {
namespace {

AttentionDropout kernel_dropout(const Dropout& d) {
  return {.seed = d.seed,
          .site = d.site,
          .keep_from = first_kept_word(d.p),
          .inv_keep = kept_scale(d.p),
          .step = d.step,
          .sample_ids = d.sample_ids};
}

void check_head_width(const TensorView& qkv, int64_t heads) {
  const int64_t width = qkv.dim(2) / 3 / heads;
  if (width != kHeadDim)
    throw Error(ExitCode::config, fmt::format("attention heads are {} wide, on CUDA they must be {}", width, kHeadDim),
                fmt::format("choose as many heads as the model's width / {}", kHeadDim));
}

// Rows are multiples of 16 bytes long: with an aligned base every 16-byte access is.
template <class T>
T* aligned(const TensorView& x) {
  DDP_CHECK(reinterpret_cast<uintptr_t>(x.data) % 16 == 0, "attention: a tensor at {}", x.data);
  return x.as<T>();
}

template <class T>
void forward(Stream& stream, const AttentionForward& a) {
  const AttentionForwardArgs<T> args{.out = aligned<T>(a.out),
                                     .lse = a.lse.as<float>(),
                                     .qkv = aligned<T>(a.qkv),
                                     .t = int(a.qkv.dim(1)),
                                     .heads = int(a.heads),
                                     .dropout = kernel_dropout(a.dropout)};
  launch_attention(stream, int(a.qkv.dim(0)), a.dropout.p > 0.0f, args);
}

template <class T>
void backward(Stream& stream, const AttentionBackward& a) {
  const AttentionBackwardArgs<T> args{.dqkv = aligned<T>(a.dqkv),
                                      .dout = aligned<T>(a.dout),
                                      .out = aligned<T>(a.out),
                                      .qkv = aligned<T>(a.qkv),
                                      .lse = a.lse.as<float>(),
                                      .delta = static_cast<float*>(a.workspace.data),
                                      .t = int(a.qkv.dim(1)),
                                      .heads = int(a.heads),
                                      .dropout = kernel_dropout(a.dropout)};
  launch_attention(stream, int(a.qkv.dim(0)), a.dropout.p > 0.0f, args);
}

}  // namespace

template <>
void run(Stream& stream, const AttentionForward& a) {
  check_head_width(a.qkv, a.heads);
  with_storage(a.qkv.dtype, [&](auto s) { forward<decltype(s)>(stream, a); });
}

template <>
void run(Stream& stream, const AttentionBackward& a) {
  check_head_width(a.qkv, a.heads);
  with_storage(a.qkv.dtype, [&](auto s) { backward<decltype(s)>(stream, a); });
}

}  // namespace ddp::cuda
