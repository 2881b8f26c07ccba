// Symmetric memory of communicators that need no shared segment: plain device memory, zero-filled, that lives as long
// as the communicator.
#pragma once

#include <vector>

#include "runtime/comm/communicator.h"

namespace ddp {

class SymmetricBuffers {
 public:
  explicit SymmetricBuffers(Device& device) : device_(device) {}
  void* allocate(int64_t bytes, const WaitPolicy& wait) {
    Buffer<uint8_t>& buffer = buffers_.emplace_back(device_, symmetric_size(bytes));
    Stream stream(device_, StreamRole::communication);
    stream.zero(buffer.view());
    stream.synchronize(wait);
    return buffer.data();
  }

 private:
  Device& device_;
  std::vector<Buffer<uint8_t>> buffers_;
};

}  // namespace ddp
