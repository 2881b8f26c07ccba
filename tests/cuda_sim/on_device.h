// Ops on the simulated GPU with everything in its memory; the harness of tests/ops has it in the host's.
#pragma once

#include "runtime/device/cuda_device.h"
#include "tests/ops/harness.h"

namespace ddp::test {

struct Gpu {
  std::unique_ptr<Device> device = make_test_device(0);
  Stream stream{*device, StreamRole::compute};
  Exec exec{.table = &test_op_table(), .stream = &stream};

  void synchronize() {
    Event done(*device);
    done.record(stream);
    done.synchronize({.timeout_ms = 60'000});
  }
};

// A tensor in memory of the device, where the simulator watches it.
class OnDevice {
 public:
  OnDevice(Gpu& gpu, const Stored& values, const Shape& shape)
      : gpu_(gpu),
        values_(values),
        memory_(*gpu.device, shape.numel() * int64_t(dtype_bytes(values.type()))),
        shape_(shape) {
    gpu.stream.copy(memory_.data(), values_.bytes().data(), memory_.bytes());
    gpu.synchronize();
  }
  TensorView view() { return {memory_.data(), values_.type(), shape_}; }
  Vec before() const { return values_.wide(); }
  Floats download() {
    std::vector<std::byte> bytes(size_t(memory_.bytes()));
    gpu_.stream.copy(bytes.data(), memory_.data(), memory_.bytes());
    gpu_.synchronize();
    return Outputs({bytes}).values(0, values_.type());
  }

 private:
  Gpu& gpu_;
  Stored values_;
  Buffer<uint8_t> memory_;
  Shape shape_;
};

}  // namespace ddp::test
