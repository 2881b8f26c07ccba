#include "kernels/cpu/gemm.h"

#include <map>

#include "kernels/cpu/onednn.h"
#include "runtime/base/check.h"

namespace ddp::cpu {
namespace {

using dnnl::memory;

struct MatmulKey {
  GemmShape shape;
  bool has_bias, to_f32;

  auto operator<=>(const MatmulKey&) const = default;
};

memory::desc matrix(int64_t rows, int64_t columns, int64_t ld, bool transposed, memory::data_type type) {
  return {{rows, columns}, type, transposed ? memory::dims{1, ld} : memory::dims{ld, 1}};
}

Primitive make_matmul(const MatmulKey& key) {
  const GemmShape& s = key.shape;
  constexpr auto kBf16 = memory::data_type::bf16;
  dnnl::primitive_attr attributes = caller_gives_scratchpad();
  if (s.accumulate) {
    dnnl::post_ops add;
    add.append_sum(1.0f);
    attributes.set_post_ops(add);
  }
  const memory::desc a = matrix(s.m, s.k, s.lda, s.a_transposed, kBf16),
                     b = matrix(s.k, s.n, s.ldb, s.b_transposed, kBf16),
                     bias = key.has_bias ? matrix(1, s.n, s.n, false, kBf16) : memory::desc(),
                     c = matrix(s.m, s.n, s.ldc, false, key.to_f32 ? memory::data_type::f32 : kBf16);
  const auto d = description<dnnl::matmul>(attributes, a, b, bias, c);
  return {dnnl::matmul(d),
          d.scratchpad_desc(),
          {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_BIAS, bias}, {DNNL_ARG_DST, c}}};
}

void matmul(const MatmulKey& key, const void* a, const void* b, const void* bias, void* c) {
  thread_local std::map<MatmulKey, Primitive> cache;
  made_once(cache, key, make_matmul)
      .run({{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_BIAS, bias}, {DNNL_ARG_DST, c}});
}

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
  matmul({.shape = s, .has_bias = bias != nullptr, .to_f32 = true}, a, b, bias, c);
}

void gemm(const GemmShape& s, const BFloat16* a, const BFloat16* b, const BFloat16* bias, BFloat16* c) {
  matmul({.shape = s, .has_bias = bias != nullptr, .to_f32 = false}, a, b, bias, c);
}

namespace {

// What oneDNN generates code for: what the processor has, or less where ONEDNN_MAX_CPU_ISA says so.
bool isa_has(dnnl_cpu_isa_t wanted) {
  static const dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
  return (isa & wanted) == wanted;
}

}  // namespace

bool gemm_takes_bf16() { return isa_has(dnnl_cpu_isa_avx512_core_bf16); }

bool gemm_rows_are_independent() { return isa_has(dnnl_cpu_isa_avx512_core); }

}  // namespace ddp::cpu
