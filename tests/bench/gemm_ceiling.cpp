#include "tests/bench/gemm_ceiling.h"

#include <algorithm>
#include <dnnl.hpp>

#include "runtime/base/check.h"
#include "runtime/base/clock.h"
#include "runtime/device/float16.h"

extern "C" void omp_set_num_threads(int);

namespace ddp {
namespace {

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

GemmCeiling::GemmCeiling(DType type, const gpt2::Options& model, int64_t rows, int64_t padded_vocab, int threads)
    : type_(type), threads_(threads) {
  const auto add = [&](int64_t m, int64_t n, int64_t k, bool a_transposed, bool b_transposed, int64_t count) {
    products_.push_back({m, n, k, a_transposed, b_transposed, count, {}});
  };
  // A layer's forward, data gradient and weight gradient.
  const auto linear = [&](int64_t in, int64_t out, int64_t count, bool w_transposed) {
    add(rows, out, in, false, w_transposed, count);
    add(rows, in, out, false, !w_transposed, count);
    add(w_transposed ? out : in, w_transposed ? in : out, rows, true, false, count);
  };
  linear(model.width, 3 * model.width, model.layers, false);
  linear(model.width, model.width, model.layers, false);
  linear(model.width, 4 * model.width, model.layers, false);
  linear(4 * model.width, model.width, model.layers, false);
  linear(model.width, padded_vocab, 1, true);

  int64_t a = 0, b = 0, c = 0;
  for (const Product& p : products_) a = std::max(a, p.m * p.k), b = std::max(b, p.k * p.n), c = std::max(c, p.m * p.n);
  a_ = filled(type, a, 0.5f), b_ = filled(type, b, 0.25f), c_ = filled(type, c, 0.0f);
  omp_set_num_threads(threads_);
  for (Product& p : products_) {
    p.run = type == DType::bf16 ? matmul(p) : sgemm(p);
    p.run();  // code is generated and memory touched
  }
}

std::function<void()> GemmCeiling::sgemm(const Product& p) {
  const int64_t lda = p.a_transposed ? p.m : p.k, ldb = p.b_transposed ? p.k : p.n;
  return [=, m = p.m, n = p.n, k = p.k, a_op = p.a_transposed ? 'T' : 'N', b_op = p.b_transposed ? 'T' : 'N', this] {
    const dnnl_status_t status =
        dnnl_sgemm(a_op, b_op, m, n, k, 1.0f, reinterpret_cast<float*>(a_.data()), lda,
                   reinterpret_cast<float*>(b_.data()), ldb, 0.0f, reinterpret_cast<float*>(c_.data()), n);
    DDP_CHECK(status == dnnl_success, "dnnl_sgemm failed with {}", int(status));
  };
}

std::function<void()> GemmCeiling::matmul(const Product& p) {
  using dnnl::memory;
  const auto matrix = [](int64_t rows, int64_t columns, bool transposed) {
    return memory::desc({rows, columns}, memory::data_type::bf16,
                        transposed ? memory::dims{1, rows} : memory::dims{columns, 1});
  };
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  const dnnl::matmul::primitive_desc description(
      {matrix(p.m, p.k, p.a_transposed), matrix(p.k, p.n, p.b_transposed), matrix(p.m, p.n, false)}, engine);
  return [primitive = dnnl::matmul(description), stream = dnnl::stream(engine),
          arguments = std::unordered_map<int, memory>{
              {DNNL_ARG_SRC, memory(description.src_desc(), engine, a_.data())},
              {DNNL_ARG_WEIGHTS, memory(description.weights_desc(), engine, b_.data())},
              {DNNL_ARG_DST, memory(description.dst_desc(), engine, c_.data())}}]() mutable {
    primitive.execute(stream, arguments);
    stream.wait();
  };
}

std::string GemmCeiling::name() const {
  return std::string("oneDNN ") + (type_ == DType::bf16 ? "bf16 matmul" : "sgemm") + " of its products, FLOP-weighted";
}

double GemmCeiling::flops() const {
  double sum = 0;
  for (const Product& p : products_) sum += p.flops();
  return sum;
}

double GemmCeiling::run_ms() {
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
