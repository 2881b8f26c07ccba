// Kernels with one planted fault each, and the same kernel without it.
#pragma once

#include "runtime/device/device.h"

namespace ddp::faults {

struct Arrays {
  float* out;
  const float* in;  // n each
  int n;            // a multiple of 128
};

// Enqueues the kernel on the stream, with its fault or without.
void syncthreads_missing(Stream& stream, const Arrays& a, bool fault);
void syncwarp_missing(Stream& stream, const Arrays& a, bool fault);
void barrier_diverges(Stream& stream, const Arrays& a, bool fault);
void warp_operation_diverges(Stream& stream, const Arrays& a, bool fault);
void element_past_the_end(Stream& stream, const Arrays& a, bool fault);
void element_past_shared_memory(Stream& stream, const Arrays& a, bool fault);
void vector_misaligned(Stream& stream, const Arrays& a, bool fault);
void blocks_write_the_same(Stream& stream, const Arrays& a, bool fault);
void shared_memory_not_written(Stream& stream, const Arrays& a, bool fault);

}  // namespace ddp::faults
