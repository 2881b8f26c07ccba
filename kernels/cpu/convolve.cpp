#include "kernels/cpu/convolve.h"

#include <cstddef>
#include <map>
#include <vector>

#include "kernels/cpu/onednn.h"
#include "runtime/base/check.h"

namespace ddp::cpu {
namespace {

using dnnl::memory;
using Pass = ConvolutionPass;
using Tag = memory::format_tag;

int x_argument(Pass pass) { return pass == Pass::input ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC; }
int weights_argument(Pass pass) { return pass == Pass::weight ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS; }
int y_argument(Pass pass) { return pass == Pass::forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST; }

memory::data_type type_of(const ConvolutionShape& s) {
  DDP_CHECK(s.type == DType::f32 || s.type == DType::bf16, "a convolution in {}", dtype_name(s.type));
  return s.type == DType::f32 ? memory::data_type::f32 : memory::data_type::bf16;
}

memory::dims weight_dims(const ConvolutionShape& s) { return {s.k, s.c, s.r, s.s}; }

memory::desc any_weights(const ConvolutionShape& s) {
  return {weight_dims(s), s.pass == Pass::weight ? memory::data_type::f32 : type_of(s), Tag::any};
}

dnnl::primitive_desc describe(const ConvolutionShape& s, const memory::desc& weights) {
  constexpr auto kAlgorithm = dnnl::algorithm::convolution_direct;
  const memory::desc x({s.n, s.c, s.h, s.w}, type_of(s), Tag::nhwc), y({s.n, s.k, s.p, s.q}, type_of(s), Tag::nhwc);
  const memory::dims strides{s.stride, s.stride}, padding{s.padding_h, s.padding_w};
  const dnnl::primitive_attr attributes = caller_gives_scratchpad();
  const auto forward = [&](const memory::desc& w) {
    return description<dnnl::convolution_forward>(attributes, dnnl::prop_kind::forward_training, kAlgorithm, x, w, y,
                                                  strides, padding, padding);
  };
  if (s.pass == Pass::forward) return forward(weights);
  const auto hint = forward({weight_dims(s), type_of(s), Tag::any});
  if (s.pass == Pass::input)
    return backward_description<dnnl::convolution_backward_data>(hint, attributes, kAlgorithm, x, weights, y, strides,
                                                                 padding, padding);
  return backward_description<dnnl::convolution_backward_weights>(hint, attributes, kAlgorithm, x, weights, y, strides,
                                                                  padding, padding);
}

memory::desc argument_of(const dnnl::primitive_desc& d, int argument) {
  return d.query_md(dnnl::query::exec_arg_md, argument);
}

// What oneDNN likes best for one image.
memory::desc packed_layout(ConvolutionShape s) {
  s.n = 1;
  return argument_of(describe(s, any_weights(s)), weights_argument(s.pass));
}

Primitive make_convolution(const ConvolutionShape& s, const memory::desc& packed) {
  const dnnl::primitive_desc d = describe(s, packed);
  const int x = x_argument(s.pass), y = y_argument(s.pass);
  return {dnnl::primitive(d),
          d.scratchpad_desc(),
          {{x, argument_of(d, x)}, {weights_argument(s.pass), packed}, {y, argument_of(d, y)}}};
}

Primitive make_reorder(const memory::desc& from, const memory::desc& to) {
  const dnnl::reorder::primitive_desc d(engine(), from, engine(), to, caller_gives_scratchpad());
  return {dnnl::reorder(d), d.scratchpad_desc(), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}}};
}

// Between packed weights and plain ones: what one position of the window has of both. The plain ones begin so many
// bytes behind the tensor's begin.
struct Repack {
  Primitive reorder;
  int64_t begin;
};

// By position, since no stride of oneDNN's is negative, as those of turned weights are, and since several threads may
// pack. It costs no more than at once: 512 x 3 x 3 x 512 in f32 take a thread 0.3 ms turned, 0.6 ms as they are.
std::vector<Repack> make_repacks(const ConvolutionShape& s, const memory::desc& packed) {
  const int64_t positions = s.r * s.s, inner = s.turned ? s.k : s.c;
  const memory::dims dims{s.k, s.c, 1, 1}, strides{positions * inner, 1, 1, 1},
      turned_strides{1, positions * inner, 1, 1};
  const memory::desc plain(dims, type_of(s), s.turned ? turned_strides : strides);
  std::vector<Repack> out;
  for (int64_t i = 0; i < positions; ++i) {
    const memory::desc part = packed.submemory_desc(dims, {0, 0, i / s.s, i % s.s});
    const int64_t begin = (s.turned ? positions - 1 - i : i) * inner * int64_t(dtype_bytes(s.type));
    out.push_back({s.pass == Pass::weight ? make_reorder(part, plain) : make_reorder(plain, part), begin});
  }
  return out;
}

struct Convolution {
  explicit Convolution(const ConvolutionShape& s)
      : packed(packed_layout(s)), convolution(make_convolution(s, packed)), repacks(make_repacks(s, packed)) {}

  memory::desc packed;
  Primitive convolution;
  std::vector<Repack> repacks;
};

Convolution& made(const ConvolutionShape& shape) {
  thread_local std::map<ConvolutionShape, Convolution> cache;
  return made_once(cache, shape, [](const ConvolutionShape& s) { return Convolution(s); });
}

}  // namespace

int64_t packed_floats(const ConvolutionShape& shape) {
  return ceil_div(int64_t(made(shape).packed.get_size()), int64_t(sizeof(float)));
}

void pack_weights(const ConvolutionShape& shape, float* packed, const void* w, int64_t begin, int64_t end) {
  std::vector<Repack>& repacks = made(shape).repacks;
  for (int64_t i = begin; i < end; ++i)
    repacks[size_t(i)].reorder.run(
        {{DNNL_ARG_FROM, static_cast<const std::byte*>(w) + repacks[size_t(i)].begin}, {DNNL_ARG_TO, packed}});
}

void unpack_weights(const ConvolutionShape& shape, void* dw, const float* packed, int64_t begin, int64_t end) {
  std::vector<Repack>& repacks = made(shape).repacks;
  for (int64_t i = begin; i < end; ++i)
    repacks[size_t(i)].reorder.run(
        {{DNNL_ARG_FROM, packed}, {DNNL_ARG_TO, static_cast<std::byte*>(dw) + repacks[size_t(i)].begin}});
}

void convolve(const ConvolutionShape& shape, void* x, float* packed, void* y) {
  made(shape).convolution.run(
      {{x_argument(shape.pass), x}, {weights_argument(shape.pass), packed}, {y_argument(shape.pass), y}});
}

}  // namespace ddp::cpu
