// What rank 0 alone knows, from a file that it reads, and on which all ranks must act alike.
#pragma once

#include <cstdint>
#include <type_traits>

#include "runtime/comm/communicator.h"
#include "runtime/device/device.h"

namespace ddp {

// Rank 0's `own` on every rank. Collective; blocks.
template <class T>
T first_rank_value(Device& device, Communicator& comm, Stream& stream, const WaitPolicy& wait, const T& own) {
  static_assert(std::is_trivially_copyable_v<T>);
  T received = own;  // beside `own`: a copy's source must not change before it ran
  Buffer<uint8_t> on_device(device, sizeof(T));
  if (comm.rank() == 0) stream.copy(on_device.data(), &own, sizeof own);
  comm.broadcast(on_device.view(), 0, stream);
  stream.copy(&received, on_device.data(), sizeof received);
  stream.synchronize(wait);
  return received;
}

}  // namespace ddp
