#include "kernels/cpu/gemm.h"

#include <dnnl.hpp>
#include <map>

#include "kernels/cpu/scratch.h"
#include "runtime/base/check.h"

extern "C" void omp_set_num_threads(int);

namespace ddp::cpu {
namespace {

using dnnl::memory;

// oneDNN takes its number of threads from the calling thread's OpenMP setting.
void use_one_thread() { [[maybe_unused]] thread_local const bool done = (omp_set_num_threads(1), true); }

// A matmul primitive of one shape with its arguments, whose addresses are set at each call. One cache a thread needs no
// lock; the generated code is shared by oneDNN's own cache.
class Matmul {
 public:
  struct Key {
    GemmShape shape;
    bool has_bias, to_f32;

    auto operator<=>(const Key&) const = default;
  };

  static Matmul& of(const Key& key) {
    thread_local std::map<Key, Matmul> cache;
    return cache.try_emplace(key, key).first->second;
  }

  explicit Matmul(const Key& key) : Matmul(describe(key)) {}

  void run(const void* a, const void* b, const void* bias, void* c) {
    thread_local dnnl::stream stream(engine());
    set(DNNL_ARG_SRC, a);
    set(DNNL_ARG_WEIGHTS, b);
    set(DNNL_ARG_DST, c);
    set(DNNL_ARG_SCRATCHPAD, thread_scratch(scratchpad_floats_));
    if (bias != nullptr) set(DNNL_ARG_BIAS, bias);
    primitive_.execute(stream, arguments_);
  }

 private:
  using Description = dnnl::matmul::primitive_desc;

  static const dnnl::engine& engine() {
    static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
    return cpu;
  }

  static memory::desc matrix(int64_t rows, int64_t columns, int64_t ld, bool transposed, memory::data_type type) {
    return {{rows, columns}, type, transposed ? memory::dims{1, ld} : memory::dims{ld, 1}};
  }

  static Description describe(const Key& key) {
    const GemmShape& s = key.shape;
    constexpr auto kBf16 = memory::data_type::bf16;
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    if (s.accumulate) {
      dnnl::post_ops add;
      add.append_sum(1.0f);
      attributes.set_post_ops(add);
    }
    const memory::desc a = matrix(s.m, s.k, s.lda, s.a_transposed, kBf16),
                       b = matrix(s.k, s.n, s.ldb, s.b_transposed, kBf16),
                       c = matrix(s.m, s.n, s.ldc, false, key.to_f32 ? memory::data_type::f32 : kBf16);
    if (!key.has_bias) return {{a, b, c}, attributes, engine()};
    return {{a, b, matrix(1, s.n, s.n, false, kBf16), c}, attributes, engine()};
  }

  explicit Matmul(const Description& d)
      : primitive_(d), scratchpad_floats_(ceil_div(int64_t(d.scratchpad_desc().get_size()), int64_t(sizeof(float)))) {
    const auto add = [&](int argument, const memory::desc& desc) {
      arguments_.emplace(argument, memory(desc, engine(), nullptr));
    };
    add(DNNL_ARG_SRC, d.src_desc());
    add(DNNL_ARG_WEIGHTS, d.weights_desc());
    add(DNNL_ARG_DST, d.dst_desc());
    add(DNNL_ARG_SCRATCHPAD, d.scratchpad_desc());
    if (d.bias_desc().get_size() > 0) add(DNNL_ARG_BIAS, d.bias_desc());
  }

  void set(int argument, const void* data) { arguments_.at(argument).set_data_handle(const_cast<void*>(data)); }

  dnnl::matmul primitive_;
  int64_t scratchpad_floats_;
  std::unordered_map<int, memory> arguments_;
};

void add_bias(float* c, int64_t ldc, const float* bias, int64_t m, int64_t n) {
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) c[i * ldc + j] += bias[j];
}

}  // namespace

void gemm(const GemmShape& s, const float* a, const float* b, const float* bias, float* c) {
  use_one_thread();
  const dnnl_status_t status = dnnl_sgemm(s.a_transposed ? 'T' : 'N', s.b_transposed ? 'T' : 'N', s.m, s.n, s.k, 1.0f,
                                          a, s.lda, b, s.ldb, s.accumulate ? 1.0f : 0.0f, c, s.ldc);
  DDP_CHECK(status == dnnl_success, "dnnl_sgemm of {} x {} x {} failed with {}", s.m, s.n, s.k, int(status));
  if (bias != nullptr) add_bias(c, s.ldc, bias, s.m, s.n);
}

void gemm(const GemmShape& s, const BFloat16* a, const BFloat16* b, const BFloat16* bias, float* c) {
  use_one_thread();
  Matmul::of({.shape = s, .has_bias = bias != nullptr, .to_f32 = true}).run(a, b, bias, c);
}

void gemm(const GemmShape& s, const BFloat16* a, const BFloat16* b, const BFloat16* bias, BFloat16* c) {
  use_one_thread();
  Matmul::of({.shape = s, .has_bias = bias != nullptr, .to_f32 = false}).run(a, b, bias, c);
}

bool gemm_takes_bf16() {
  static const bool takes = __builtin_cpu_supports("avx512bf16") != 0;
  return takes;
}

}  // namespace ddp::cpu
