// Linear layers by cuBLASLt, in f32 with f32 accumulation (no TF32). Row-major matrices are column-major transposed
// ones, so a product's operands change places: y^T = w^T x^T.
//
// Algorithms come from the heuristic and never from timing: a resumed run must give the same bits. The one fused
// epilogue is the bias: cuBLASLt's bias gradients overwrite, ours accumulate (kernels/cuda/column_sum.cu).
#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <map>
#include <memory>
#include <type_traits>

#include "kernels/cuda/column_sum.h"
#include "kernels/cuda/cuda_ops.h"
#include "runtime/device/cuda_device.h"

namespace ddp::cuda {
namespace {

void check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Error(ExitCode::os_resource, fmt::format("{}: {}", call, cublasLtGetStatusString(status)));
}

// Owner of a cuBLASLt descriptor.
template <class Handle, cublasStatus_t (*destroy)(Handle)>
struct Destroy {
  void operator()(Handle handle) const { destroy(handle); }
};
template <class Handle, cublasStatus_t (*destroy)(Handle)>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroy<Handle, destroy>>;
using OwnedLayout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using OwnedProduct = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using OwnedPreference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

// D (m,n) = op(A) op(B), column-major and packed, op(A) (m,k), op(B) (k,n); alignment of all pointers in bytes.
struct ProductShape {
  int64_t m, n, k;
  bool a_transposed, b_transposed, has_bias;
  uint32_t alignment;
  auto operator<=>(const ProductShape&) const = default;
};

struct Plan {
  OwnedProduct product;
  OwnedLayout a, b, d;
  cublasLtMatmulAlgo_t algorithm;
};

template <class T>
void set(cublasLtMatmulDesc_t product, cublasLtMatmulDescAttributes_t attribute, const T& value) {
  check(cublasLtMatmulDescSetAttribute(product, attribute, &value, sizeof value), "cublasLtMatmulDescSetAttribute");
}
template <class T>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute, const T& value) {
  check(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value),
        "cublasLtMatmulPreferenceSetAttribute");
}

OwnedLayout packed_layout(int64_t rows, int64_t columns) {
  cublasLtMatrixLayout_t layout = nullptr;
  check(cublasLtMatrixLayoutCreate(&layout, CUDA_R_32F, uint64_t(rows), uint64_t(columns), rows),
        "cublasLtMatrixLayoutCreate");
  return OwnedLayout(layout);
}

// What cuBLASLt is asked for, once a shape. One a process, as a rank has one GPU; used by the one thread that enqueues.
// Neither handle nor plans are destroyed: at the end of a process the driver may be gone before them.
class Products {
 public:
  static Products& of_process() {
    static Products* const products = new Products;
    return *products;
  }

  const Plan& plan(const ProductShape& shape, const CudaWorkspace& workspace) {
    const auto found = plans_.find(shape);
    return found != plans_.end() ? found->second : plans_.emplace(shape, make(shape, workspace)).first->second;
  }
  cublasLtHandle_t handle() const { return handle_; }

 private:
  Products() { check(cublasLtCreate(&handle_), "cublasLtCreate"); }

  Plan make(const ProductShape& s, const CudaWorkspace& workspace) const {
    cublasLtMatmulDesc_t product = nullptr;
    check(cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
    Plan plan{.product = OwnedProduct(product),
              .a = s.a_transposed ? packed_layout(s.k, s.m) : packed_layout(s.m, s.k),
              .b = s.b_transposed ? packed_layout(s.n, s.k) : packed_layout(s.k, s.n),
              .d = packed_layout(s.m, s.n),
              .algorithm = {}};
    set(product, CUBLASLT_MATMUL_DESC_TRANSA, s.a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(product, CUBLASLT_MATMUL_DESC_TRANSB, s.b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(product, CUBLASLT_MATMUL_DESC_EPILOGUE, s.has_bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT);

    cublasLtMatmulPreference_t raw = nullptr;
    check(cublasLtMatmulPreferenceCreate(&raw), "cublasLtMatmulPreferenceCreate");
    const OwnedPreference preference(raw);
    set(raw, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t(workspace.bytes));
    for (const auto attribute :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      set(raw, attribute, s.alignment);
    cublasLtMatmulHeuristicResult_t result{};
    int found = 0;
    check(cublasLtMatmulAlgoGetHeuristic(handle_, product, plan.a.get(), plan.b.get(), plan.d.get(), plan.d.get(), raw,
                                         1, &result, &found),
          "cublasLtMatmulAlgoGetHeuristic");
    if (found == 0)
      throw Error(ExitCode::os_resource, fmt::format("cuBLASLt knows no way to multiply {} x {} x {}", s.m, s.k, s.n));
    plan.algorithm = result.algo;
    return plan;
  }

  cublasLtHandle_t handle_ = nullptr;
  std::map<ProductShape, Plan> plans_;
};

// The largest power of two, at most 16, that divides every address.
uint32_t alignment_of(std::initializer_list<const void*> pointers) {
  uintptr_t bits = 16;
  for (const void* p : pointers) bits |= reinterpret_cast<uintptr_t>(p);
  return uint32_t(bits & -bits);
}

// An operand as it lies in memory, row-major (rows, columns).
struct Operand {
  const float* data;
  bool transposed;  // the product reads its transpose
};

// out (rows, columns) = left (rows, inner) right (inner, columns) + beta out + bias (columns), all row-major.
void multiply(Stream& stream, float* out, int64_t rows, int64_t columns, int64_t inner, const Operand& left,
              const Operand& right, float beta, const float* bias = nullptr) {
  if (rows == 0 || columns == 0) return;
  const CudaWorkspace workspace = cuda_workspace(stream.device());
  Products& products = Products::of_process();
  // Column-major, the right operand comes first.
  const Plan& plan = products.plan({.m = columns,
                                    .n = rows,
                                    .k = inner,
                                    .a_transposed = right.transposed,
                                    .b_transposed = left.transposed,
                                    .has_bias = bias != nullptr,
                                    .alignment = alignment_of({out, left.data, right.data, bias})},
                                   workspace);
  if (bias != nullptr) set(plan.product.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  const float alpha = 1.0f;
  check(cublasLtMatmul(products.handle(), plan.product.get(), &alpha, right.data, plan.a.get(), left.data, plan.b.get(),
                       &beta, out, plan.d.get(), out, plan.d.get(), &plan.algorithm, workspace.memory,
                       size_t(workspace.bytes), static_cast<cudaStream_t>(stream.handle())),
        "cublasLtMatmul");
}

}  // namespace

void linear_forward(Stream& stream, const LinearForward& a) {
  multiply(stream, a.y.as<float>(), a.x.dim(0), a.y.dim(1), a.x.dim(1), {a.x.as<float>(), false},
           {a.w.as<float>(), a.w_transposed}, 0.0f, a.bias ? a.bias.as<float>() : nullptr);
}

void linear_backward_input(Stream& stream, const LinearBackwardInput& a) {
  multiply(stream, a.dx.as<float>(), a.dx.dim(0), a.dx.dim(1), a.dy.dim(1), {a.dy.as<float>(), false},
           {a.w.as<float>(), !a.w_transposed}, 0.0f);
}

void linear_backward_weight(Stream& stream, const LinearBackwardWeight& a) {
  // x^T dy, or dy^T x where the weight is stored transposed.
  const TensorView &left = a.w_transposed ? a.dy : a.x, &right = a.w_transposed ? a.x : a.dy;
  multiply(stream, a.dw.as<float>(), left.dim(1), right.dim(1), left.dim(0), {left.as<float>(), true},
           {right.as<float>(), false}, a.accumulate ? 1.0f : 0.0f);
  if (a.db) column_sum(stream, a.db, a.dy, a.accumulate);
}

}  // namespace ddp::cuda
