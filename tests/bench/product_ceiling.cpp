#include "tests/bench/product_ceiling.h"

#include <algorithm>

#include "kernels/cpu/onednn.h"
#include "runtime/base/check.h"
#include "runtime/base/clock.h"
#include "runtime/device/float16.h"

namespace ddp {
namespace {

using cpu::backward_description;
using cpu::description;
using cpu::engine;
using dnnl::memory;

// n elements of `type`.
std::vector<std::byte> filled(DType type, int64_t n, float value) {
  std::vector<std::byte> memory(size_t(n) * dtype_bytes(type));
  if (type == DType::bf16)
    std::fill_n(reinterpret_cast<BFloat16*>(memory.data()), n, to_bf16(value));
  else
    std::fill_n(reinterpret_cast<float*>(memory.data()), n, value);
  return memory;
}

}  // namespace

ProductCeiling::ProductCeiling(DType type, const std::map<StepProduct, int64_t>& products, int threads)
    : type_(type), threads_(threads) {
  int64_t a = 0, b = 0, c = 0;  // elements
  for (const auto& [p, count] : products) {
    if (p.kind != StepProduct::Kind::matrix) continue;
    a = std::max(a, p.m * p.k), b = std::max(b, p.k * p.n), c = std::max(c, p.m * p.n);
  }
  a_ = filled(type, a, 0.5f), b_ = filled(type, b, 0.25f), c_ = filled(type, c, 0.0f);
  omp_set_num_threads(threads_);
  for (const auto& [p, count] : products) {
    Product& product = products_.emplace_back(Product{p, count, {}});
    product.run = p.kind != StepProduct::Kind::matrix ? convolution(p) : type == DType::bf16 ? matmul(p) : sgemm(p);
    product.run();  // code is generated and memory touched
  }
}

std::function<void()> ProductCeiling::sgemm(const StepProduct& p) {
  const int64_t lda = p.a_transposed ? p.m : p.k, ldb = p.b_transposed ? p.k : p.n;
  return [=, m = p.m, n = p.n, k = p.k, a_op = p.a_transposed ? 'T' : 'N', b_op = p.b_transposed ? 'T' : 'N', this] {
    const dnnl_status_t status =
        dnnl_sgemm(a_op, b_op, m, n, k, 1.0f, reinterpret_cast<float*>(a_.data()), lda,
                   reinterpret_cast<float*>(b_.data()), ldb, 0.0f, reinterpret_cast<float*>(c_.data()), n);
    DDP_CHECK(status == dnnl_success, "dnnl_sgemm failed with {}", int(status));
  };
}

std::function<void()> ProductCeiling::matmul(const StepProduct& p) {
  const auto matrix = [](int64_t rows, int64_t columns, bool transposed) {
    return memory::desc({rows, columns}, memory::data_type::bf16,
                        transposed ? memory::dims{1, rows} : memory::dims{columns, 1});
  };
  const auto d = description<dnnl::matmul>(dnnl::primitive_attr(), matrix(p.m, p.k, p.a_transposed),
                                           matrix(p.k, p.n, p.b_transposed), matrix(p.m, p.n, false));
  return [primitive = dnnl::matmul(d), stream = dnnl::stream(engine()),
          arguments =
              std::unordered_map<int, memory>{{DNNL_ARG_SRC, memory(d.src_desc(), engine(), a_.data())},
                                              {DNNL_ARG_WEIGHTS, memory(d.weights_desc(), engine(), b_.data())},
                                              {DNNL_ARG_DST, memory(d.dst_desc(), engine(), c_.data())}}]() mutable {
    primitive.execute(stream, arguments);
    stream.wait();
  };
}

std::function<void()> ProductCeiling::convolution(const StepProduct& p) {
  using Tag = memory::format_tag;
  const memory::data_type type = type_ == DType::bf16 ? memory::data_type::bf16 : memory::data_type::f32;
  const Window window = {.stride = p.stride, .padding = p.padding};
  const auto [n, h, w, c] = p.x;
  const auto [k, r, s, channels] = p.w;
  const memory::desc x({n, c, h, w}, type, Tag::nhwc), any({k, channels, r, s}, type, Tag::any),
      y({n, k, num_windows(h, r, window), num_windows(w, s, window)}, type, Tag::nhwc);
  const memory::dims strides{p.stride, p.stride}, padding{p.padding, p.padding};
  constexpr auto kDirect = dnnl::algorithm::convolution_direct;
  const dnnl::primitive_attr plain;
  const auto forward = description<dnnl::convolution_forward>(plain, dnnl::prop_kind::forward_training, kDirect, x, any,
                                                              y, strides, padding, padding);
  const auto execute = [](const auto& primitive, std::unordered_map<int, memory> arguments) {
    return [primitive, arguments = std::move(arguments), stream = dnnl::stream(engine())]() mutable {
      primitive.execute(stream, arguments);
      stream.wait();
    };
  };
  // A tensor of its own, filled: what a fresh page holds is slow to compute with.
  const auto tensor = [&](const memory::desc& desc) {
    memory m(desc, engine());
    std::fill_n(static_cast<uint16_t*>(m.get_data_handle()), desc.get_size() / 2, uint16_t(0x3c00));
    return m;
  };
  if (p.kind == StepProduct::Kind::forward)
    return execute(dnnl::convolution_forward(forward), {{DNNL_ARG_SRC, tensor(forward.src_desc())},
                                                        {DNNL_ARG_WEIGHTS, tensor(forward.weights_desc())},
                                                        {DNNL_ARG_DST, tensor(forward.dst_desc())}});
  if (p.kind == StepProduct::Kind::backward_input) {
    const auto d = backward_description<dnnl::convolution_backward_data>(forward, plain, kDirect, x, any, y, strides,
                                                                         padding, padding);
    return execute(dnnl::convolution_backward_data(d), {{DNNL_ARG_DIFF_SRC, tensor(d.diff_src_desc())},
                                                        {DNNL_ARG_WEIGHTS, tensor(d.weights_desc())},
                                                        {DNNL_ARG_DIFF_DST, tensor(d.diff_dst_desc())}});
  }
  const auto d = backward_description<dnnl::convolution_backward_weights>(forward, plain, kDirect, x, any, y, strides,
                                                                          padding, padding);
  return execute(dnnl::convolution_backward_weights(d), {{DNNL_ARG_SRC, tensor(d.src_desc())},
                                                         {DNNL_ARG_DIFF_WEIGHTS, tensor(d.diff_weights_desc())},
                                                         {DNNL_ARG_DIFF_DST, tensor(d.diff_dst_desc())}});
}

std::string ProductCeiling::name() const {
  const bool convolves =
      std::ranges::any_of(products_, [](const Product& p) { return p.shape.kind != StepProduct::Kind::matrix; });
  return std::string("oneDNN ") + (type_ == DType::bf16 ? "bf16 matmul" : "sgemm") +
         (convolves ? " and convolution" : "") + " of its products, FLOP-weighted";
}

double ProductCeiling::flops() const {
  double sum = 0;
  for (const Product& p : products_) sum += p.shape.flops() * double(p.count);
  return sum;
}

double ProductCeiling::run_ms() {
  omp_set_num_threads(threads_);
  double ms = 0;
  for (const Product& p : products_) {
    const int64_t begin = monotonic_ns();
    p.run();
    ms += ms_between(begin, monotonic_ns()) * double(p.count);
  }
  return ms;
}

}  // namespace ddp
