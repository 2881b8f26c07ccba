// The subset of cuBLASLt that the project calls, by plain loops; built against the real header and linked in place of
// the library. Matrices are f32, f16 or bf16 (of the latter two D may be f32), sums f32, and each element of D is
// rounded once; TF32 rounds f32 operands to 10 bits of mantissa. Like the library it has no bf16 and no TF32 on a GPU
// below compute capability 8.0. It demands what makes sums repeat, reduction schemes that keep f32 and an order, and
// operands aligned as the heuristic was told. Faults that tests plant: no algorithm for a fused bias, for column-major
// matrices, or for any product; a first result of the heuristic that is none, or none but such.
#include <cublasLt.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "tests/cuda_sim/api/elements.h"
#include "tests/cuda_sim/api/gpu.h"
#include "tests/cuda_sim/api/memory.h"
#include "tests/cuda_sim/report.h"

using namespace ddp::sim;
using ddp::DType;
using ddp::dtype_bytes;

namespace {

struct Description {
  cublasComputeType_t compute = CUBLAS_COMPUTE_32F;
  cublasOperation_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
};
struct Layout {
  DType type;
  int64_t rows, columns, leading;
  cublasLtOrder_t order = CUBLASLT_ORDER_COL;
  int64_t row_stride() const { return order == CUBLASLT_ORDER_ROW ? leading : 1; }
  int64_t column_stride() const { return order == CUBLASLT_ORDER_ROW ? 1 : leading; }
};
// Of the operands of an algorithm, in bytes.
struct Alignments {
  uint32_t a = 256, b = 256, c = 256, d = 256, bias = 256;
};
constexpr Alignments kNoAlgorithm = {0, 0, 0, 0, 0};
struct Preference {
  uint32_t reduction_schemes = CUBLASLT_REDUCTION_SCHEME_MASK;
  Alignments alignments;
};

template <class T, class Handle>
T& as(Handle handle) {
  return *reinterpret_cast<T*>(handle);
}

template <class T>
cublasStatus_t set(T& field, const void* value, size_t bytes) {
  if (bytes != sizeof field) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&field, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

struct Product {
  Description description;
  Layout a_layout, b_layout, d_layout;
  const void *a, *b;
  void* d;
  float alpha, beta;
};

void note_matrix(const void* x, const Layout& layout, bool write) {
  const bool by_rows = layout.order == CUBLASLT_ORDER_ROW;
  const size_t lines = size_t(by_rows ? layout.rows : layout.columns), width = dtype_bytes(layout.type);
  const size_t length = size_t(by_rows ? layout.columns : layout.rows);
  for (size_t j = 0; j < lines; ++j)
    note_access(static_cast<const std::byte*>(x) + j * size_t(layout.leading) * width, length * width, write);
}

// op(x) with its rows one after another: (rows, columns) as the product reads it.
std::vector<float> row_major(const void* x, const Layout& layout, bool transposed, bool tf32) {
  const int64_t rows = transposed ? layout.columns : layout.rows, columns = transposed ? layout.rows : layout.columns;
  const int64_t down = transposed ? layout.column_stride() : layout.row_stride();
  const int64_t across = transposed ? layout.row_stride() : layout.column_stride();
  std::vector<float> out(size_t(rows * columns));
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      const float value = read(x, layout.type, i * down + j * across);
      out[size_t(i * columns + j)] = tf32 ? to_tf32(value) : value;
    }
  return out;
}

void multiply(const Product& p) {
  const int64_t m = p.d_layout.rows, n = p.d_layout.columns;
  const DType type = p.d_layout.type;
  note_matrix(p.a, p.a_layout, false);
  note_matrix(p.b, p.b_layout, false);
  if (p.beta != 0) note_matrix(p.d, p.d_layout, false);
  const void* bias = p.description.epilogue == CUBLASLT_EPILOGUE_BIAS ? p.description.bias : nullptr;
  if (bias != nullptr) note_access(bias, size_t(m) * dtype_bytes(type), false);
  note_matrix(p.d, p.d_layout, true);
  const bool tf32 = p.description.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
  // A^T's rows are A's columns: k x m, so that the inner loop runs along a column of D.
  const std::vector<float> a = row_major(p.a, p.a_layout, p.description.transpose_a == CUBLAS_OP_N, tf32);
  const std::vector<float> b = row_major(p.b, p.b_layout, p.description.transpose_b == CUBLAS_OP_N, tf32);
  const int64_t k = int64_t(a.size()) / m;
  std::vector<float> sum(static_cast<size_t>(m));
  for (int64_t j = 0; j < n; ++j) {
    std::fill(sum.begin(), sum.end(), 0.0f);
    for (int64_t l = 0; l < k; ++l) {
      const float factor = b[size_t(j * k + l)];
      const float* column = &a[size_t(l * m)];
      for (int64_t i = 0; i < m; ++i) sum[size_t(i)] += factor * column[i];
    }
    for (int64_t i = 0; i < m; ++i) {
      const int64_t at = j * p.d_layout.column_stride() + i * p.d_layout.row_stride();
      write(p.d, type, at,
            p.alpha * sum[size_t(i)] + (p.beta != 0 ? p.beta * read(p.d, type, at) : 0.0f) +
                (bias != nullptr ? read(bias, type, i) : 0.0f));
    }
  }
}

void check_alignments(const cublasLtMatmulAlgo_t& algorithm, const Product& p) {
  Alignments needed;
  std::memcpy(&needed, algorithm.data, sizeof needed);
  if (needed.a == kNoAlgorithm.a) return report("cuBLASLt algorithm", "a product with a result that is not valid");
  const bool has_bias = p.description.epilogue != CUBLASLT_EPILOGUE_DEFAULT;
  const auto check = [](const char* name, const void* operand, uint32_t alignment) {
    if (reinterpret_cast<uintptr_t>(operand) % alignment != 0)
      report("cuBLASLt alignment", "{} at {} for an algorithm that takes it aligned to {}", name, operand, alignment);
  };
  check("A", p.a, needed.a), check("B", p.b, needed.b), check("C", p.d, needed.c), check("D", p.d, needed.d);
  if (has_bias) check("a bias", p.description.bias, needed.bias);
}

// Of the combinations in cuBLASLt's table those that the project uses.
bool are_supported(const Description& description, const Layout& a, const Layout& b, const Layout& d) {
  const bool tf32 = description.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
  if (a.type != b.type || (d.type != a.type && d.type != DType::f32) || (tf32 && a.type != DType::f32)) return false;
  return has_bf16_and_tf32() || (a.type != DType::bf16 && !tf32);
}

}  // namespace

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  static int the_handle;
  *handle = reinterpret_cast<cublasLtHandle_t>(&the_handle);
  return CUBLAS_STATUS_SUCCESS;
}

const char* cublasLtGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_SUCCESS ? "success" : "simulated cuBLAS error";
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* out, cublasComputeType_t compute, cudaDataType_t scale) {
  if ((compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_32F_FAST_TF32) || scale != CUDA_R_32F)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  *out = reinterpret_cast<cublasLtMatmulDesc_t>(new Description{.compute = compute});
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t handle) {
  delete &as<Description>(handle);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t handle, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  Description& d = as<Description>(handle);
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return set(d.transpose_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return set(d.transpose_b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return set(d.epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return set(d.bias, value, bytes);
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* out, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t leading) {
  if (type != CUDA_R_32F && type != CUDA_R_16F && type != CUDA_R_16BF) return CUBLAS_STATUS_NOT_SUPPORTED;
  const DType stored = type == CUDA_R_16F ? DType::f16 : type == CUDA_R_16BF ? DType::bf16 : DType::f32;
  *out = reinterpret_cast<cublasLtMatrixLayout_t>(new Layout{stored, int64_t(rows), int64_t(columns), leading});
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t handle,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                size_t bytes) {
  if (attribute != CUBLASLT_MATRIX_LAYOUT_ORDER) return CUBLAS_STATUS_NOT_SUPPORTED;
  return set(as<Layout>(handle).order, value, bytes);
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t handle) {
  delete &as<Layout>(handle);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* out) {
  *out = reinterpret_cast<cublasLtMatmulPreference_t>(new Preference);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t handle) {
  delete &as<Preference>(handle);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t handle,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    size_t bytes) {
  Preference& p = as<Preference>(handle);
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return set(p.reduction_schemes, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return set(p.alignments.a, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return set(p.alignments.b, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return set(p.alignments.c, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return set(p.alignments.d, value, bytes);
    default:
      return CUBLAS_STATUS_SUCCESS;
  }
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t description,
                                              cublasLtMatrixLayout_t a_layout, cublasLtMatrixLayout_t b_layout,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t d_layout,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t* results, int* found) {
  constexpr uint32_t kFixedOrder = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  if ((as<Preference>(preference).reduction_schemes & ~kFixedOrder) != 0)
    report("cuBLASLt reduction scheme", "a preference allows reduction schemes {:#x}",
           as<Preference>(preference).reduction_schemes);
  const bool is_fused = as<Description>(description).epilogue != CUBLASLT_EPILOGUE_DEFAULT;
  const bool by_rows = as<Layout>(d_layout).order == CUBLASLT_ORDER_ROW;
  *found = 0;
  if (!are_supported(as<Description>(description), as<Layout>(a_layout), as<Layout>(b_layout), as<Layout>(d_layout)))
    return CUBLAS_STATUS_NOT_SUPPORTED;
  // Along a row-major D's rows there is no bias epilogue.
  if (is_planted("no-product") || ((is_fused || !by_rows) && is_planted("no-column-major-product")) ||
      (is_fused && (by_rows || is_planted("no-fused-bias"))))
    return is_fused ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_SUCCESS;  // the library says it in either way
  const bool all_bad = is_planted("bad-results"), first_bad = all_bad || is_planted("bad-first-result");
  *found = std::min(wanted, first_bad ? 2 : 1);
  std::memset(results, 0, sizeof *results * size_t(*found));
  Alignments alignments = as<Preference>(preference).alignments;
  // As the library: the address counts, and none is one of any alignment.
  if (const auto bias = reinterpret_cast<uintptr_t>(as<Description>(description).bias); is_fused && bias != 0)
    alignments.bias = uint32_t(std::min<uintptr_t>(bias & -bias, 256));
  static_assert(sizeof alignments <= sizeof results->algo);
  for (int i = 0; i < *found; ++i) {
    const bool is_bad = i == 0 ? first_bad : all_bad;
    if (is_bad) results[i].state = CUBLAS_STATUS_NOT_SUPPORTED;
    std::memcpy(results[i].algo.data, is_bad ? &kNoAlgorithm : &alignments, sizeof alignments);
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t description, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algorithm, void*, size_t,
                              cudaStream_t stream) {
  const Product p{.description = as<Description>(description),
                  .a_layout = as<Layout>(a_layout),
                  .b_layout = as<Layout>(b_layout),
                  .d_layout = as<Layout>(d_layout),
                  .a = a,
                  .b = b,
                  .d = d,
                  .alpha = *static_cast<const float*>(alpha),
                  .beta = *static_cast<const float*>(beta)};
  const bool ta = p.description.transpose_a != CUBLAS_OP_N, tb = p.description.transpose_b != CUBLAS_OP_N;
  const bool fits = (ta ? p.a_layout.columns : p.a_layout.rows) == p.d_layout.rows &&
                    (tb ? p.b_layout.rows : p.b_layout.columns) == p.d_layout.columns &&
                    (ta ? p.a_layout.rows : p.a_layout.columns) == (tb ? p.b_layout.columns : p.b_layout.rows);
  if (!fits || c != d) return CUBLAS_STATUS_INVALID_VALUE;
  check_alignments(*algorithm, p);
  gpu().submit(stream, "cublasLtMatmul", Run([p] {
                 multiply(p);
                 return true;
               }));
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
