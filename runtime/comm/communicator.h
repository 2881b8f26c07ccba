// Communicator: collectives between the ranks of a run, ordered by the stream they are enqueued on.
// Every rank must issue the same collectives in the same order. Sums are made in a fixed order, the aligned pairwise
// tree over ranks ((0+1)+(2+3)), whatever the timing, so that the same run gives the same bits.
#pragma once

#include <cstdint>
#include <memory>

#include "runtime/board/board.h"
#include "runtime/device/device.h"

namespace ddp {

// What allocate_symmetric takes for a request, in bytes: the same in every communicator, so that one plan holds for
// all.
constexpr int64_t symmetric_size(int64_t bytes) { return (bytes + 255) / 256 * 256; }

// What collectives add. 16 bits are widened, added in f32 and rounded once; but NCCL rounds at each addition.
inline constexpr DTypeSet kSummedTypes = {DType::f32, DType::f64, DType::f16, DType::bf16};

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Device memory on which collectives need no copy (on the CPU: inside the shared segment, read in place by the
  // peers). Collective: every rank asks for the same sizes in the same order. Lives as long as the communicator.
  // 256-byte aligned, zero-filled. Errors: os_resource (71) when the segment planned at construction is used up.
  virtual void* allocate_symmetric(int64_t bytes) = 0;

  // x = sum over ranks of x, in place. Of kSummedTypes, any memory; symmetric memory is reduced without a copy.
  virtual void all_reduce(const TensorView& x, Stream& stream) = 0;
  // x of `root` to every rank. Any dtype.
  virtual void broadcast(const TensorView& x, int root, Stream& stream) = 0;
  // out (n) = rows [rank * n, rank * n + n) of the sum over ranks of in (size * n). Of kSummedTypes.
  virtual void reduce_scatter(const TensorView& in, const TensorView& out, Stream& stream) = 0;
  // out (size * n) = in (n) of every rank in rank order. Any dtype.
  virtual void all_gather(const TensorView& in, const TensorView& out, Stream& stream) = 0;
  // Work enqueued after it runs when every rank's work before it has run.
  virtual void barrier(Stream& stream) = 0;
};

// One rank: copies and no-ops.
std::unique_ptr<Communicator> make_solo_comm(Device& device);

struct ShmCommOptions {
  int rank = 0;
  int64_t symmetric_bytes = 0;  // what all allocate_symmetric calls of one rank will add up to (each by symmetric_size)
  WaitPolicy wait;
};
// CPU ranks of one host over `segment`, a nameless shared memory that is empty when the ranks inherit it: rank 0 sizes
// and seals it, the others map it after a board barrier. Collective. Errors: os_resource (71) when the memory is not
// there.
std::unique_ptr<Communicator> make_shm_comm(Device& device, Board& board, Fd segment, const ShmCommOptions& options);

}  // namespace ddp
