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
          .step = d.p > 0.0f ? d.step : nullptr,
          .sample_ids = d.sample_ids};
}

// Of a call whose qkv (B,T,3C) this is.
template <class Args>
AttentionProblem problem_of(const Args& a) {
  const int64_t d = a.qkv.dim(2) / 3 / a.heads;
  if (d % 8 != 0 || d > kMaxDim)
    throw Error(
        ExitCode::config,
        fmt::format("attention heads are {} wide, on CUDA that must be a multiple of 8, at most {}", d, kMaxDim),
        fmt::format("choose another number of heads: the model's width is {}", d * a.heads));
  return {.samples = int(a.qkv.dim(0)),
          .t = int(a.qkv.dim(1)),
          .heads = int(a.heads),
          .d = int(d),
          .scale = float(1.0 / std::sqrt(double(d))),
          .causal = a.causal,
          .lengths = a.lengths ? a.lengths.template as<int32_t>() : nullptr,
          .dropout = kernel_dropout(a.dropout)};
}

// Rows are multiples of 16 bytes long: with an aligned base every 16-byte access is.
template <class T>
T* aligned(const TensorView& x) {
  DDP_CHECK(reinterpret_cast<uintptr_t>(x.data) % 16 == 0, "attention: a tensor at {}", x.data);
  return x.as<T>();
}

template <class T>
void forward(Stream& stream, const AttentionForward& a) {
  launch_attention(
      stream,
      AttentionForwardArgs<T>{
          .out = aligned<T>(a.out), .lse = a.lse.as<float>(), .qkv = aligned<T>(a.qkv), .problem = problem_of(a)});
}

template <class T>
void backward(Stream& stream, const AttentionBackward& a) {
  launch_attention(stream, AttentionBackwardArgs<T>{.dqkv = aligned<T>(a.dqkv),
                                                    .dout = aligned<T>(a.dout),
                                                    .out = aligned<T>(a.out),
                                                    .qkv = aligned<T>(a.qkv),
                                                    .lse = a.lse.as<float>(),
                                                    .delta = static_cast<float*>(a.workspace.data),
                                                    .problem = problem_of(a)});
}

}  // namespace

template <>
void run(Stream& stream, const AttentionForward& a) {
  with_storage(a.qkv.dtype, [&](auto s) { forward<decltype(s)>(stream, a); });
}

template <>
void run(Stream& stream, const AttentionBackward& a) {
  with_storage(a.qkv.dtype, [&](auto s) { backward<decltype(s)>(stream, a); });
}

}  // namespace ddp::cuda
