// The 1x1 convolutions of ResNet-50 on a GPU, each pass two ways: as the product computes it, a linear layer over
// positions by cuBLASLt, of every second one where the stride is 2; and as a convolution by cuDNN, whose weight
// gradient is cast to f32 as that of a 3x3 is. Times alone: tests/ops looks at what they compute. Usage:
//   bench_pointwise [--precision fp16|bf16|fp32|tf32] [--batch 128] [--image 224] [--repetitions 20] [--json FILE]
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <vector>

#include "kernels/ops.h"
#include "runtime/base/error.h"
#include "runtime/base/fs.h"
#include "runtime/base/number.h"
#include "runtime/device/float16.h"
#include "runtime/rank/cuda_backend.h"

namespace ddp {
namespace {

struct Options {
  std::string precision = "fp16", json;
  int64_t batch = 128, image = 224, repetitions = 20;

  DType type() const { return precision == "fp16" ? DType::f16 : precision == "bf16" ? DType::bf16 : DType::f32; }
  int64_t workspace_bytes() const { return int64_t(type() == DType::f32 ? 256 : 32) << 20; }  // as train.workspace_mb
};

// Positions in are (image / divisor)^2; `calls` of them in the model.
struct Layer {
  int64_t divisor, channels, outputs, stride;
  int calls;
};
constexpr std::array<Layer, 15> kLayers = {{
    {4, 64, 64, 1, 1},
    {4, 256, 64, 1, 2},
    {4, 64, 256, 1, 4},
    {4, 256, 128, 1, 1},
    {8, 512, 128, 1, 3},
    {8, 128, 512, 1, 4},
    {4, 256, 512, 2, 1},
    {8, 512, 256, 1, 1},
    {16, 1024, 256, 1, 5},
    {16, 256, 1024, 1, 6},
    {8, 512, 1024, 2, 1},
    {16, 1024, 512, 1, 1},
    {32, 2048, 512, 1, 2},
    {32, 512, 2048, 1, 3},
    {16, 1024, 2048, 2, 1},
}};

TensorView as_rows(const TensorView& x) {
  const int64_t c = x.dim(x.shape.rank - 1);
  return x.view({x.numel() / c, c});
}

// One device and the tensors of the largest layer, of which the others take the beginning.
class Bench {
 public:
  explicit Bench(const Options& options)
      : options_(options),
        backend_(open_cuda_backend()),
        device_(backend_.make_device({.workspace_bytes = options.workspace_bytes(), .cudnn = open_cudnn()})),
        exec_{.table = &backend_.op_table(options.precision == "tf32"), .stream = &stream_},
        x_(random_buffer(largest(&Bench::x_shape))),
        sub_(random_buffer(largest(&Bench::sub_shape))),
        y_(random_buffer(largest(&Bench::y_shape))),
        w_(random_buffer(largest(&Bench::w_shape))),
        dw_(random_buffer(largest(&Bench::w_shape))),
        dw_f32_(*device_, largest(&Bench::w_shape)) {}

  std::string device_name() const { return device_->name(); }

  struct Pass {
    const char* name;
    double linear_ms;
    std::optional<double> cudnn_ms;  // none: it has no deterministic plan
  };
  std::vector<Pass> run(const Layer& l) {
    const TensorView x = view(x_, x_shape(l)), y = view(y_, y_shape(l)), w = view(w_, w_shape(l)),
                     dw = view(dw_, w_shape(l)), sub = view(sub_, sub_shape(l));
    const TensorView w_rows = w.view({l.outputs, l.channels}), dw_f32(dw_f32_.data(), DType::f32, w_rows.shape);
    const bool strided = l.stride > 1;
    const TensorView& read = strided ? sub : x;
    const Window window = {.stride = l.stride};
    const auto subsample = [=, this, stride = l.stride] {
      if (strided) subsample_forward(exec_, {.y = sub, .x = x, .stride = stride});
    };
    return {
        {"forward", time_ms([=, this] {
           subsample();
           linear_forward(exec_, {.y = as_rows(y), .x = as_rows(read), .w = w_rows, .w_transposed = true});
         }),
         cudnn_ms([=, this] { convolution_forward(exec_, {.y = y, .x = x, .w = w, .window = window}); })},
        {"gradient of the input", time_ms([=, this, stride = l.stride] {
           linear_backward_input(exec_, {.dx = as_rows(read), .dy = as_rows(y), .w = w_rows, .w_transposed = true});
           if (strided) subsample_backward(exec_, {.dx = x, .dy = sub, .stride = stride});
         }),
         cudnn_ms([=, this] { convolution_backward_input(exec_, {.dx = x, .dy = y, .w = w, .window = window}); })},
        {"gradient of the weights", time_ms([=, this] {
           subsample();
           linear_backward_weight(exec_, {.dw = dw_f32, .x = as_rows(read), .dy = as_rows(y), .w_transposed = true});
         }),
         cudnn_ms([=, this] {
           convolution_backward_weight(exec_, {.dw = dw, .x = x, .dy = y, .window = window});
           const Shape flat{dw.numel()};
           if (dw.dtype != DType::f32) cast(exec_, {.y = dw_f32.view(flat), .x = dw.view(flat)});
         })},
    };
  }

  Shape x_shape(const Layer& l) const { return positions(options_.image / l.divisor, l.channels); }
  Shape y_shape(const Layer& l) const { return positions(options_.image / l.divisor / l.stride, l.outputs); }

 private:
  Shape positions(int64_t side, int64_t channels) const { return {options_.batch, side, side, channels}; }
  Shape sub_shape(const Layer& l) const { return positions(options_.image / l.divisor / l.stride, l.channels); }
  Shape w_shape(const Layer& l) const { return {l.outputs, 1, 1, l.channels}; }

  int64_t largest(Shape (Bench::*shape)(const Layer&) const) const {
    int64_t elements = 0;
    for (const Layer& l : kLayers) elements = std::max(elements, (this->*shape)(l).numel());
    return elements;
  }
  TensorView view(const Buffer<std::byte>& buffer, const Shape& shape) const {
    return TensorView(const_cast<std::byte*>(buffer.data()), options_.type(), shape);
  }

  // A GPU's clock depends on the bits that change, so constants would flatter it. A block of normal values is repeated.
  Buffer<std::byte> random_buffer(int64_t elements) {
    const int64_t bytes = elements * int64_t(dtype_bytes(options_.type()));
    Buffer<std::byte> buffer(*device_, bytes);
    for (int64_t at = 0; at < bytes; at += int64_t(block_.size()))
      stream_.copy(buffer.data() + at, block_.data(), std::min(bytes - at, int64_t(block_.size())));
    finish();
    return buffer;
  }
  static std::vector<std::byte> random_block(DType type) {
    std::vector<std::byte> values;
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    const auto append = [&](auto value) {
      const auto* bytes = reinterpret_cast<const std::byte*>(&value);
      values.insert(values.end(), bytes, bytes + sizeof value);
    };
    for (int i = 0; i < 1 << 18; ++i) {
      const float value = normal(random);
      type == DType::f32 ? append(value) : type == DType::bf16 ? append(to_bf16(value)) : append(to_f16(value));
    }
    return values;
  }

  void finish() {
    end_.record(stream_);
    end_.synchronize({});
  }

  // The median of five rounds, each the mean of the repetitions. The first call chooses an algorithm.
  double time_ms(const std::function<void()>& enqueue) {
    enqueue();
    std::array<double, 5> rounds{};
    for (double& ms : rounds) {
      begin_.record(stream_);
      for (int64_t i = 0; i < options_.repetitions; ++i) enqueue();
      finish();
      ms = end_.ms_since(begin_) / double(options_.repetitions);
    }
    std::ranges::sort(rounds);
    return rounds[2];
  }
  std::optional<double> cudnn_ms(const std::function<void()>& enqueue) {
    try {
      return time_ms(enqueue);
    } catch (const Error& error) {
      if (!std::string_view(error.what()).starts_with("cuDNN has no deterministic plan")) throw;
      fmt::print("{}\n", error.what());
      return std::nullopt;
    }
  }

  Options options_;
  std::vector<std::byte> block_ = random_block(options_.type());
  const CudaBackend& backend_;
  std::unique_ptr<Device> device_;
  Stream stream_{*device_, StreamRole::compute};
  Event begin_{*device_}, end_{*device_};
  Exec exec_;
  Buffer<std::byte> x_, sub_, y_, w_, dw_;
  Buffer<float> dw_f32_;
};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i], value = argv[i + 1];
    const auto number = parse_number<int64_t>(value);
    if (option == "--precision" && (value == "fp16" || value == "bf16" || value == "fp32" || value == "tf32"))
      options.precision = value;
    else if (option == "--json")
      options.json = value;
    else if (option == "--batch" && number && *number > 0)
      options.batch = *number;
    else if (option == "--image" && number && *number > 0 && *number % 32 == 0)
      options.image = *number;
    else if (option == "--repetitions" && number && *number > 0)
      options.repetitions = *number;
    else
      argc = 0;  // refused below
  }
  if (argc % 2 == 0)
    throw Error(ExitCode::usage, "unknown or incomplete options",
                "usage: bench_pointwise [--precision fp16|bf16|fp32|tf32] [--batch B] [--image a multiple of 32] "
                "[--repetitions N] [--json FILE]");
  return options;
}

void run(const Options& options) {
  Bench bench(options);
  fmt::print("1x1 convolutions of ResNet-50, {} images of {}, {}, {}\n", options.batch, options.image,
             options.precision, bench.device_name());
  nlohmann::ordered_json passes = nlohmann::ordered_json::array();
  double linear_ms = 0, cudnn_ms = 0;
  for (const Layer& l : kLayers) {
    const std::string text = fmt::format("{} to {}, {} x {}{}", l.channels, l.outputs, options.image / l.divisor,
                                         options.image / l.divisor, l.stride > 1 ? ", stride 2" : "");
    for (const auto& [name, linear, cudnn] : bench.run(l)) {
      fmt::print("{:<32} {:<24} x{}: linear {:.4f} ms, cuDNN {}\n", text, name, l.calls, linear,
                 cudnn ? fmt::format("{:.4f} ms", *cudnn) : "none");
      passes.push_back(
          {{"layer", text}, {"pass", name}, {"calls", l.calls}, {"linear_ms", linear}, {"cudnn_ms", nullptr}});
      if (cudnn) passes.back()["cudnn_ms"] = *cudnn;
      linear_ms += l.calls * linear;
      cudnn_ms += l.calls * cudnn.value_or(linear);
    }
  }
  fmt::print("a step: linear {:.3f} ms, cuDNN {:.3f} ms\n", linear_ms, cudnn_ms);
  const nlohmann::ordered_json json = {{"device", bench.device_name()},
                                       {"precision", options.precision},
                                       {"batch", options.batch},
                                       {"image", options.image},
                                       {"linear_ms", linear_ms},
                                       {"cudnn_ms", cudnn_ms},
                                       {"passes", passes}};
  if (!options.json.empty()) write_text_atomically(options.json, json.dump(2) + "\n", /*durable=*/false);
}

}  // namespace
}  // namespace ddp

int main(int argc, char** argv) {
  try {
    ddp::run(ddp::parse(argc, argv));
    return int(ddp::ExitCode::complete);
  } catch (const ddp::Error& e) {
    fmt::print(stderr, "bench_pointwise: {}\n", e.what());
    return int(e.code());
  } catch (const std::exception& e) {
    fmt::print(stderr, "bench_pointwise: internal error: {}\n", e.what());
    return int(ddp::ExitCode::internal);
  }
}
