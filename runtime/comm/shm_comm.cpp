#include "runtime/comm/shm_comm.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/comm/tree_sum.h"
#include "runtime/device/cpu_device.h"
#include "runtime/device/float16.h"

namespace ddp {
namespace {

constexpr int64_t kCacheLine = 64;

// Calls f with a value of the element type.
template <class F>
void with_float_type(DType dtype, F f) {
  switch (dtype) {
    case DType::f32:
      return f(float{});
    case DType::f64:
      return f(double{});
    case DType::f16:
      return f(Half{});
    case DType::bf16:
      return f(BFloat16{});
    default:
      DDP_CHECK(false, "a sum of {}", dtype_name(dtype));
  }
}

std::byte* bytes_of(const TensorView& x) { return static_cast<std::byte*>(x.data); }

}  // namespace

ShmComm::ShmComm(std::shared_ptr<ShmSegment> segment, int rank, const WaitPolicy& wait)
    : segment_(std::move(segment)), rank_(rank), size_(segment_->num_ranks()), wait_(wait), sources_(size_t(size_)) {
  DDP_CHECK(rank >= 0 && rank < size_, "rank {} of {}", rank, size_);
  segment_->populate(rank);
}

void* ShmComm::allocate_symmetric(int64_t bytes) {
  const int64_t begin = symmetric_used_;
  const int64_t end = begin + symmetric_size(bytes);
  if (end > segment_->symmetric_bytes())
    throw Error(ExitCode::os_resource, fmt::format("{} bytes of shared memory asked for, {} of {} left", bytes,
                                                   segment_->symmetric_bytes() - begin, segment_->symmetric_bytes()));
  symmetric_used_ = end;
  return segment_->symmetric(rank_) + begin;
}

CollectiveRecord ShmComm::describe(Collective op, const TensorView& in, int root) const {
  const int64_t offset = bytes_of(in) - segment_->symmetric(rank_);
  const bool symmetric = offset >= 0 && offset + in.bytes() <= segment_->symmetric_bytes();
  return {.number = 0,
          .op = op,
          .dtype = in.dtype,
          .staged = !symmetric,
          .root = root,
          .bytes = in.bytes(),
          .offset = symmetric ? offset : 0};
}

void ShmComm::announce(CollectiveRecord record) {
  record.number = ++num_collectives_;
  segment_->line(rank_).ring[record.number % kTraceLength] = record;
}

void ShmComm::meet(const char* where) {
  const uint32_t mine = segment_->line(rank_).arrivals.fetch_add(1, std::memory_order_relaxed) + 1;
  try {
    segment_->barrier().arrive_and_wait(uint32_t(size_), wait_, where);
  } catch (const Error& error) {
    std::string missing;
    for (int r = 0; r < size_; ++r)
      if (int32_t(segment_->line(r).arrivals.load(std::memory_order_relaxed) - mine) < 0)
        missing += fmt::format("{}{}", missing.empty() ? "" : ", ", r);
    throw Error(error.code(),
                fmt::format("rank {} {} #{} for rank {}", rank_, error.what(), num_collectives_, missing));
  }
}

void ShmComm::compare_with_peers() {
  const size_t at = num_collectives_ % kTraceLength;
  const CollectiveRecord& mine = segment_->line(rank_).ring[at];
  for (int r = 0; r < size_; ++r) {
    const CollectiveRecord& theirs = segment_->line(r).ring[at];
    if (!mine.matches(theirs))
      throw Error(ExitCode::disagree, fmt::format("ranks issued different collectives: rank {} {}, rank {} {}", rank_,
                                                  mine.text(), r, theirs.text()));
    sources_[size_t(r)] = mine.staged ? segment_->staging(r) : segment_->symmetric(r) + theirs.offset;
  }
}

// One collective, piece by piece: input in symmetric memory is one piece that is read in place, other input passes
// through the staging areas. work(begin, n) runs while every rank's bytes [begin, begin + n) of the input are at
// sources_ and nobody writes to them; after(begin, n) runs when every rank's work on the piece is done, for staged
// pieces only.
template <class Work, class After>
void ShmComm::run(const CollectiveRecord& record, const TensorView& in, Work work, After after) {
  const char* where = collective_name(record.op);
  const bool contributes = record.root < 0 || record.root == rank_;
  announce(record);
  int64_t begin = 0;
  do {
    const int64_t n = std::min(record.bytes - begin, record.staged ? kStagingBytes : record.bytes);
    if (record.staged && contributes) std::memcpy(segment_->staging(rank_), bytes_of(in) + begin, size_t(n));
    meet(where);
    if (begin == 0) compare_with_peers();
    work(begin, n);
    meet(where);
    if (record.staged) after(begin, n);
    begin += n;
  } while (begin < record.bytes);
}

// Sums this rank's share, cut at whole cache lines, of the n bytes at sources_, into all of them.
template <class T>
void ShmComm::sum_own_share(int64_t n) {
  const int64_t share = (n + size_ * kCacheLine - 1) / (size_ * kCacheLine) * kCacheLine;
  const int64_t begin = std::min(rank_ * share, n), end = std::min(begin + share, n);
  T* at[kMaxRanks];
  for (int r = 0; r < size_; ++r) at[r] = reinterpret_cast<T*>(sources_[size_t(r)] + begin);
  tree_sum<T>({at, size_t(size_)}, {at, size_t(size_)}, (end - begin) / int64_t(sizeof(T)));
}

// out = the sum of bytes [begin, end) at sources_.
template <class T>
void ShmComm::sum_rows(std::byte* out, int64_t begin, int64_t end) {
  const T* at[kMaxRanks];
  for (int r = 0; r < size_; ++r) at[r] = reinterpret_cast<const T*>(sources_[size_t(r)] + begin);
  T* to = reinterpret_cast<T*>(out);
  tree_sum<T>({&to, 1}, {at, size_t(size_)}, (end - begin) / int64_t(sizeof(T)));
}

void ShmComm::all_reduce(const TensorView& x, Stream& stream) {
  const CollectiveRecord record = describe(Collective::all_reduce, x, -1);
  with_float_type(x.dtype, [&]<class T>(T) {
    cpu_enqueue(stream, [this, record, x](ThreadPool&) {
      run(
          record, x, [&](int64_t, int64_t n) { sum_own_share<T>(n); },
          [&](int64_t begin, int64_t n) { std::memcpy(bytes_of(x) + begin, segment_->staging(rank_), size_t(n)); });
    });
  });
}

void ShmComm::broadcast(const TensorView& x, int root, Stream& stream) {
  DDP_CHECK(root >= 0 && root < size_, "root {} of {} ranks", root, size_);
  const CollectiveRecord record = describe(Collective::broadcast, x, root);
  cpu_enqueue(stream, [this, record, x](ThreadPool&) {
    run(
        record, x,
        [&](int64_t begin, int64_t n) {
          if (rank_ != record.root) std::memcpy(bytes_of(x) + begin, sources_[size_t(record.root)], size_t(n));
        },
        [](int64_t, int64_t) {});
  });
}

void ShmComm::reduce_scatter(const TensorView& in, const TensorView& out, Stream& stream) {
  DDP_CHECK(in.dtype == out.dtype && in.numel() == size_ * out.numel(), "reduce_scatter of {} to {} on {} ranks",
            in.numel(), out.numel(), size_);
  const CollectiveRecord record = describe(Collective::reduce_scatter, in, -1);
  with_float_type(in.dtype, [&]<class T>(T) {
    cpu_enqueue(stream, [this, record, in, out](ThreadPool&) {
      const int64_t first = rank_ * out.bytes(), last = first + out.bytes();  // the bytes of `in` that are this rank's
      run(
          record, in,
          [&](int64_t begin, int64_t n) {
            const int64_t lo = std::max(begin, first), hi = std::min(begin + n, last);
            if (lo < hi) sum_rows<T>(bytes_of(out) + (lo - first), lo - begin, hi - begin);
          },
          [](int64_t, int64_t) {});
    });
  });
}

void ShmComm::all_gather(const TensorView& in, const TensorView& out, Stream& stream) {
  DDP_CHECK(in.dtype == out.dtype && out.numel() == size_ * in.numel(), "all_gather of {} to {} on {} ranks",
            in.numel(), out.numel(), size_);
  const CollectiveRecord record = describe(Collective::all_gather, in, -1);
  cpu_enqueue(stream, [this, record, in, out](ThreadPool&) {
    run(
        record, in,
        [&](int64_t begin, int64_t n) {
          for (int r = 0; r < size_; ++r) {
            std::byte* to = bytes_of(out) + r * in.bytes() + begin;
            if (to != sources_[size_t(r)]) std::memcpy(to, sources_[size_t(r)], size_t(n));
          }
        },
        [](int64_t, int64_t) {});
  });
}

void ShmComm::barrier(Stream& stream) {
  cpu_enqueue(stream, [this](ThreadPool&) {
    announce({.number = 0,
              .op = Collective::barrier,
              .dtype = DType::u8,
              .staged = true,
              .root = -1,
              .bytes = 0,
              .offset = 0});
    meet("barrier");
    compare_with_peers();
  });
}

std::unique_ptr<Communicator> make_shm_comm(Device& device, Board& board, Fd memory, const ShmCommOptions& options) {
  DDP_CHECK(device.kind() == DeviceKind::cpu, "shared-memory collectives are for CPU ranks");
  const int size = int(board->world_size);
  if (options.rank == 0) ShmSegment::reserve(memory, size, options.symmetric_bytes);
  board->barrier.arrive_and_wait(uint32_t(size), options.wait, "the sizing of the shared memory");
  return std::make_unique<ShmComm>(std::make_shared<ShmSegment>(memory, size, options.symmetric_bytes), options.rank,
                                   options.wait);
}

}  // namespace ddp
