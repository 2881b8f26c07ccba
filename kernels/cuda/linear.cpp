// Linear layers by cuBLASLt, in f32, f16 or bf16 with sums in f32; products of f32 are exact, or in the table for tf32
// made by tensor cores that read 19 bits of each operand. Row-major matrices are column-major transposed ones, so a
// product's operands change places: y^T = w^T x^T.
//
// Algorithms come from the heuristic and never from timing: a resumed run must give the same bits. The one fused
// epilogue is the bias: cuBLASLt's bias gradients overwrite, ours accumulate (kernels/cuda/column_sum.cu). Where the
// heuristic knows no algorithm, the product is asked for in the next form: with the bias in `out` beforehand, then
// transposed.
#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "kernels/cuda/alignment.h"
#include "kernels/cuda/column_sum.h"
#include "kernels/cuda/run.h"
#include "kernels/ops/linear.h"
#include "runtime/device/cuda_device.h"

namespace ddp::cuda {
namespace {

// How products of f32 are made: as f32 is, or by tensor cores that round each operand to 10 bits of mantissa.
enum class F32Products : uint8_t { exact, tf32 };

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

// The largest workspace that cuBLASLt is told of: more for cuDNN changes no product's bits.
constexpr int64_t kMaxWorkspaceBytes = 32 << 20;

// What cuBLASLt is told about a product. The transposed one is the same arithmetic on the same memory,
// D^T = op(B)^T op(A)^T with every matrix described as row-major.
enum class ProductForm : uint8_t { fused_bias, plain, transposed };

struct ProductTypes {
  DType in, out;  // of A and B; of D and the bias
  cublasComputeType_t compute;
  auto operator<=>(const ProductTypes&) const = default;
};

// D (m,n) = op(A) op(B), column-major and packed, op(A) (m,k), op(B) (k,n); alignment of all pointers in bytes.
struct ProductShape {
  ProductTypes types;
  int64_t m, n, k;
  bool a_transposed, b_transposed;
  ProductForm form;
  uint32_t alignment;
  auto operator<=>(const ProductShape&) const = default;
};

struct Plan {
  OwnedProduct product;
  OwnedLayout a, b, d;
  std::optional<cublasLtMatmulAlgo_t> algorithm;  // none: cuBLASLt has no way in this form
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

cudaDataType_t cuda_type(DType type) {
  return type == DType::f16 ? CUDA_R_16F : type == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

// A packed column-major matrix (rows, columns), or its transpose, row-major: the same memory.
OwnedLayout packed_layout(DType type, int64_t rows, int64_t columns, bool transposed) {
  const uint64_t first = uint64_t(transposed ? columns : rows), second = uint64_t(transposed ? rows : columns);
  cublasLtMatrixLayout_t raw = nullptr;
  check(cublasLtMatrixLayoutCreate(&raw, cuda_type(type), first, second, rows), "cublasLtMatrixLayoutCreate");
  OwnedLayout layout(raw);
  const cublasLtOrder_t order = transposed ? CUBLASLT_ORDER_ROW : CUBLASLT_ORDER_COL;
  check(cublasLtMatrixLayoutSetAttribute(raw, CUBLASLT_MATRIX_LAYOUT_ORDER, &order, sizeof order),
        "cublasLtMatrixLayoutSetAttribute");
  return layout;
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
    const bool swapped = s.form == ProductForm::transposed;
    cublasLtMatmulDesc_t product = nullptr;
    check(cublasLtMatmulDescCreate(&product, s.types.compute, CUDA_R_32F), "cublasLtMatmulDescCreate");
    const auto [in, out, compute] = s.types;
    Plan plan{
        .product = OwnedProduct(product),
        .a = s.a_transposed ? packed_layout(in, s.k, s.m, swapped) : packed_layout(in, s.m, s.k, swapped),
        .b = s.b_transposed ? packed_layout(in, s.n, s.k, swapped) : packed_layout(in, s.k, s.n, swapped),
        .d = packed_layout(out, s.m, s.n, swapped),
        .algorithm = {},
    };
    if (swapped) std::swap(plan.a, plan.b);
    const auto operation = [](bool transposed) { return transposed ? CUBLAS_OP_T : CUBLAS_OP_N; };
    set(product, CUBLASLT_MATMUL_DESC_TRANSA, operation(swapped ? s.b_transposed : s.a_transposed));
    set(product, CUBLASLT_MATMUL_DESC_TRANSB, operation(swapped ? s.a_transposed : s.b_transposed));
    set(product, CUBLASLT_MATMUL_DESC_EPILOGUE,
        s.form == ProductForm::fused_bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT);
    // The heuristic reads no bias, but takes the alignment of all biases to come from the address.
    if (s.form == ProductForm::fused_bias)
      set(product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, reinterpret_cast<const void*>(uintptr_t(s.alignment)));

    cublasLtMatmulPreference_t raw = nullptr;
    check(cublasLtMatmulPreferenceCreate(&raw), "cublasLtMatmulPreferenceCreate");
    const OwnedPreference preference(raw);
    set(raw, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t(std::min(workspace.bytes, kMaxWorkspaceBytes)));
    // Parts of a sum over k stay in f32 and are added in a step of their own, in a fixed order.
    set(raw, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        uint32_t(CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    for (const auto attribute :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      set(raw, attribute, s.alignment);
    std::array<cublasLtMatmulHeuristicResult_t, 4> results{};
    int found = 0;
    const cublasStatus_t asked =
        cublasLtMatmulAlgoGetHeuristic(handle_, product, plan.a.get(), plan.b.get(), plan.d.get(), plan.d.get(), raw,
                                       int(results.size()), results.data(), &found);
    if (asked == CUBLAS_STATUS_NOT_SUPPORTED) return plan;
    check(asked, "cublasLtMatmulAlgoGetHeuristic");
    // Best first; of a result in another state nothing else is valid.
    const auto end = results.begin() + found;
    const auto best =
        std::find_if(results.begin(), end, [](const auto& r) { return r.state == CUBLAS_STATUS_SUCCESS; });
    if (best != end) plan.algorithm = best->algo;
    return plan;
  }

  cublasLtHandle_t handle_ = nullptr;
  std::map<ProductShape, Plan> plans_;
};

// An operand, row-major.
struct Operand {
  const TensorView& matrix;
  bool transposed;  // the product reads its transpose
};

// Every row of out (rows, columns) = row (columns), by copies of twice as many rows each.
void fill_rows(Stream& stream, const TensorView& out, const TensorView& row) {
  stream.copy(out.data, row.data, row.bytes());
  for (int64_t filled = 1; filled < out.dim(0); filled *= 2) {
    const TensorView next = out.rows(filled, std::min(filled, out.dim(0) - filled));
    stream.copy(next.data, out.data, next.bytes());
  }
}

// out (M,N) = left (M,K) right (K,N) + beta out + bias (N), all row-major; beta is 0 where there is a bias. The scale
// type is f32: cuBLASLt adds beta out to the sum in f32 and rounds what it stores, once.
void multiply(Stream& stream, F32Products f32_products, const TensorView& out, const Operand& left,
              const Operand& right, float beta, const TensorView& bias = {}) {
  const int64_t rows = out.dim(0), columns = out.dim(1), inner = left.matrix.dim(left.transposed ? 0 : 1);
  if (rows == 0 || columns == 0) return;
  const CudaWorkspace workspace = cuda_workspace(stream.device());
  Products& products = Products::of_process();
  const DType in = left.matrix.dtype;
  const bool tf32 = in == DType::f32 && f32_products == F32Products::tf32;
  // Column-major, the right operand comes first.
  ProductShape shape = {.types = {in, out.dtype, tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F},
                        .m = columns,
                        .n = rows,
                        .k = inner,
                        .a_transposed = right.transposed,
                        .b_transposed = left.transposed,
                        .form = bias ? ProductForm::fused_bias : ProductForm::plain,
                        .alignment = alignment_of({out.data, left.matrix.data, right.matrix.data, bias.data})};
  const Plan* plan = &products.plan(shape, workspace);
  if (plan->algorithm && bias) set(plan->product.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias.data);
  if (!plan->algorithm && bias) {
    fill_rows(stream, out, bias);
    beta = 1.0f;
    shape.form = ProductForm::plain;
    plan = &products.plan(shape, workspace);
  }
  const void *a = right.matrix.data, *b = left.matrix.data;
  if (!plan->algorithm) {
    shape.form = ProductForm::transposed;
    plan = &products.plan(shape, workspace);
    std::swap(a, b);
  }
  if (!plan->algorithm)
    throw Error(ExitCode::os_resource, fmt::format("cuBLASLt knows no way to multiply {} x {} x {} in {}", columns,
                                                   inner, rows, dtype_name(in)));
  const float alpha = 1.0f;
  check(cublasLtMatmul(products.handle(), plan->product.get(), &alpha, a, plan->a.get(), b, plan->b.get(), &beta,
                       out.data, plan->d.get(), out.data, plan->d.get(), &*plan->algorithm, workspace.memory,
                       size_t(workspace.bytes), static_cast<cudaStream_t>(stream.handle())),
        "cublasLtMatmul");
}

void run(Stream& stream, F32Products products, const LinearForward& a) {
  multiply(stream, products, a.y, {a.x, false}, {a.w, a.w_transposed}, 0.0f, a.bias);
}

void run(Stream& stream, F32Products products, const LinearBackwardInput& a) {
  multiply(stream, products, a.dx, {a.dy, false}, {a.w, !a.w_transposed}, a.accumulate ? 1.0f : 0.0f);
}

void run(Stream& stream, F32Products products, const LinearBackwardWeight& a) {
  // x^T dy, or dy^T x where the weight is stored transposed.
  const TensorView &left = a.w_transposed ? a.dy : a.x, &right = a.w_transposed ? a.x : a.dy;
  multiply(stream, products, a.dw, {left, true}, {right, false}, a.accumulate ? 1.0f : 0.0f);
  if (a.db) column_sum(stream, a.db, a.dy, a.accumulate);
}

}  // namespace

template <>
void run(Stream& stream, const LinearForward& a) {
  run(stream, F32Products::exact, a);
}
template <>
void run_tf32(Stream& stream, const LinearForward& a) {
  run(stream, F32Products::tf32, a);
}

template <>
void run(Stream& stream, const LinearBackwardInput& a) {
  run(stream, F32Products::exact, a);
}
template <>
void run_tf32(Stream& stream, const LinearBackwardInput& a) {
  run(stream, F32Products::tf32, a);
}

template <>
void run(Stream& stream, const LinearBackwardWeight& a) {
  run(stream, F32Products::exact, a);
}
template <>
void run_tf32(Stream& stream, const LinearBackwardWeight& a) {
  run(stream, F32Products::tf32, a);
}

}  // namespace ddp::cuda
