#include "tests/bench/products.h"

#include "kernels/op_table.h"
#include "runtime/train/dry_run.h"

namespace ddp {
namespace {

// Entries of an op table are plain functions: what they see goes here.
StepProducts* seen = nullptr;

void see_matrix(int64_t m, int64_t n, int64_t k, bool a_transposed, bool b_transposed) {
  ++seen->counts[{.m = m, .n = n, .k = k, .a_transposed = a_transposed, .b_transposed = b_transposed}];
}

void see_convolution(StepProduct::Kind kind, const TensorView& x, const TensorView& w, const Window& window) {
  ++seen->counts[{
      .kind = kind, .x = x.shape.dims, .w = w.shape.dims, .stride = window.stride, .padding = window.padding}];
}

void see_attention(const TensorView& out, int num_products) {  // (B,T,C)
  const double b = double(out.dim(0)), t = double(out.dim(1)), c = double(out.dim(2));
  seen->square_attention_flops += num_products * 2.0 * b * t * t * c;
}

OpTable seeing_table() {
  OpTable table = meta_op_table();
  table.entry<LinearForward>() = [](Stream&, const LinearForward& a) {
    see_matrix(a.y.dim(0), a.y.dim(1), a.x.dim(1), false, a.w_transposed);
  };
  table.entry<LinearBackwardInput>() = [](Stream&, const LinearBackwardInput& a) {
    see_matrix(a.dx.dim(0), a.dx.dim(1), a.dy.dim(1), false, !a.w_transposed);
  };
  table.entry<LinearBackwardWeight>() = [](Stream&, const LinearBackwardWeight& a) {
    see_matrix(a.dw.dim(0), a.dw.dim(1), a.x.dim(0), true, false);
  };
  table.entry<ConvolutionForward>() = [](Stream&, const ConvolutionForward& a) {
    see_convolution(StepProduct::Kind::forward, a.x, a.w, a.window);
  };
  table.entry<ConvolutionBackwardInput>() = [](Stream&, const ConvolutionBackwardInput& a) {
    see_convolution(StepProduct::Kind::backward_input, a.dx, a.w, a.window);
  };
  table.entry<ConvolutionBackwardWeight>() = [](Stream&, const ConvolutionBackwardWeight& a) {
    see_convolution(StepProduct::Kind::backward_weight, a.x, a.dw, a.window);
  };
  table.entry<AttentionForward>() = [](Stream&, const AttentionForward& a) { see_attention(a.out, 2); };
  table.entry<AttentionBackward>() = [](Stream&, const AttentionBackward& a) { see_attention(a.out, 4); };
  return table;
}

}  // namespace

double StepProduct::flops() const {
  if (kind == Kind::matrix) return 2.0 * double(m) * double(n) * double(k);
  const Window window = {.stride = stride, .padding = padding};
  const int64_t positions = x[0] * num_windows(x[1], w[1], window) * num_windows(x[2], w[2], window);
  return 2.0 * double(positions) * double(w[0] * w[1] * w[2] * w[3]);
}

StepProducts products_of_step(const Config& config, const Model& model, DeviceKind device) {
  StepProducts products;
  seen = &products;
  dry_run(config, /*ranks=*/1, model, device, seeing_table());
  seen = nullptr;
  return products;
}

}  // namespace ddp
