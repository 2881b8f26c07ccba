#include "runtime/comm/nccl_comm.h"

#include <cuda_runtime_api.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/base/log.h"
#include "runtime/comm/capture_check.h"
#include "runtime/comm/nccl_api.h"
#include "runtime/comm/nccl_environment.h"
#include "runtime/comm/nccl_watchdog.h"
#include "runtime/comm/symmetric_buffers.h"

namespace ddp {
namespace {

constexpr int64_t kUnitBytes = 16;  // slices start at multiples of it

cudaStream_t stream_of(const Stream& stream) { return static_cast<cudaStream_t>(stream.handle()); }
std::byte* bytes_of(const TensorView& x) { return static_cast<std::byte*>(x.data); }

ncclDataType_t sum_type(const TensorView& x) {
  switch (x.dtype) {
    case DType::f32:
      return ncclFloat32;
    case DType::f64:
      return ncclFloat64;
    case DType::f16:
      return ncclFloat16;
    case DType::bf16:
      return ncclBfloat16;
    default:
      DDP_CHECK(false, "a sum of {}", dtype_name(x.dtype));
  }
}

// Deterministic sums are not rounded between ranks.
void check_tree_type(const TensorView& x) {
  DDP_CHECK(x.dtype == wide(x.dtype), "a deterministic sum of {}", dtype_name(x.dtype));
}

// From rank 0 to the others over the board; of the run's communicator number `number`, from 1.
ncclUniqueId share_unique_id(const NcclApi& api, BoardLayout& board, uint32_t number, int rank,
                             const WaitPolicy& wait) {
  ncclUniqueId id;
  static_assert(sizeof id.internal == sizeof board.nccl_id);
  if (rank == 0) {
    api.check(api.ncclGetUniqueId(&id), nullptr, "ncclGetUniqueId");
    std::memcpy(board.nccl_id.data(), id.internal, sizeof id.internal);
    board.nccl_id_ready.store(number, std::memory_order_release);
    wake_all(board.nccl_id_ready);
  } else {
    wait_until_reached(board.nccl_id_ready, number, wait, "NCCL's unique id");
    std::memcpy(id.internal, board.nccl_id.data(), sizeof id.internal);
  }
  return id;
}

class NcclComm final : public Communicator {
 public:
  // The run's communicator number `number`, from 1: each has an id of its own.
  NcclComm(const NcclApi& api, Device& device, Board& board, const NcclCommOptions& options, bool is_blocking,
           uint32_t number)
      : api_(api),
        device_(device),
        board_(board),
        options_(options),
        is_blocking_(is_blocking),
        wait_(options.wait),
        size_(int(board->world_size)),
        symmetric_(device),
        own_(device, options.own_bytes),
        watchdog_(std::in_place, api_, calls_, board, options.rank) {
    DDP_CHECK(options.own_bytes >= kNcclBarrierBytes, "no memory for barriers");
    DDP_CHECK(!options.deterministic || (options.tree_sum != nullptr && scratch_bytes() >= size_ * size_ * kUnitBytes),
              "a deterministic communicator needs a sum and scratch memory");
    const ncclUniqueId id = share_unique_id(api_, *board, number, options.rank, options.wait);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = is_blocking ? 1 : 0;
    try {
      settle("ncclCommInitRankConfig",
             [&] { return api_.ncclCommInitRankConfig(&comm_, size_, id, options.rank, &config); });
    } catch (const Error& e) {
      const bool refused =
          options.shares_gpu && last_error_ == ncclInvalidUsage;  // what it says to a GPU that it has twice
      throw Error(ExitCode::rendezvous, (refused ? "ranks that share a GPU are not possible with this NCCL, " +
                                                       nccl_version_text(api_.version()) + ": "
                                                 : "") +
                                            std::string(e.what()));
    }
    watchdog_->watch(comm_);
  }
  NcclComm(const NcclComm&) = delete;
  NcclComm& operator=(const NcclComm&) = delete;

  // All work must be done: a finalize with work in flight waits for the peers.
  ~NcclComm() override {
    if (comm_ == nullptr) return;  // aborted
    try {
      settle("ncclCommFinalize", [&] { return api_.ncclCommFinalize(comm_); });
    } catch (const std::exception& e) {
      log::warn("{}", e.what());
    }
    watchdog_.reset();
    api_.ncclCommDestroy(comm_);
  }

  // Collective, and before any other: the number of ranks on which captured collectives do not work, the same on each;
  // `fault` says what this rank found. Where there are some, the communicator is aborted and of no more use.
  int num_without_capture(std::string& fault) {
    constexpr int kMostWaits = 5;  // one after the other, those for ranks that wait themselves included
    watchdog_->watch(nullptr);     // an error of the communicator is an answer here, and not the end of the run
    wait_.timeout_ms = std::min(options_.capture_limit_ms, options_.wait.timeout_ms);
    wait_.progress = nullptr;
    // Work that is stuck may hold whoever frees what it uses.
    WaitPolicy whole = wait_;
    whole.timeout_ms *= kMostWaits;
    const NcclWatchdog::Limit limit(
        *watchdog_, "the self-check of captured collectives (none with train.nccl_blocking true)", whole);
    CaptureCheck check(*this, device_, board_);
    const int num_failed = check.num_failed(wait_, options_.wait);
    wait_ = options_.wait;
    fault = check.fault();
    num_failed > 0 ? abort() : watchdog_->watch(comm_);
    return num_failed;
  }

  int rank() const override { return options_.rank; }
  int size() const override { return size_; }

  void* allocate_symmetric(int64_t bytes) override {
    const int64_t left = options_.symmetric_bytes - symmetric_used_;
    if (symmetric_size(bytes) > left)
      throw Error(ExitCode::os_resource, fmt::format("{} bytes of symmetric memory asked for, {} of {} left", bytes,
                                                     left, options_.symmetric_bytes));
    symmetric_used_ += symmetric_size(bytes);
    return symmetric_.allocate(bytes, options_.wait);
  }

  void all_reduce(const TensorView& x, Stream& stream) override {
    if (!options_.deterministic)
      return settle("ncclAllReduce", [&] {
        return api_.ncclAllReduce(x.data, x.data, size_t(x.numel()), sum_type(x), ncclSum, comm_, stream_of(stream));
      });
    check_tree_type(x);
    for_each_piece(x, [&](const TensorView& piece) { tree_all_reduce(piece, stream); });
  }

  void broadcast(const TensorView& x, int root, Stream& stream) override {
    DDP_CHECK(root >= 0 && root < size_, "root {} of {} ranks", root, size_);
    settle("ncclBroadcast", [&] {
      return api_.ncclBroadcast(x.data, x.data, size_t(x.bytes()), ncclUint8, root, comm_, stream_of(stream));
    });
  }

  void reduce_scatter(const TensorView& in, const TensorView& out, Stream& stream) override {
    DDP_CHECK(in.dtype == out.dtype && in.numel() == size_ * out.numel(), "reduce_scatter of {} to {} on {} ranks",
              in.numel(), out.numel(), size_);
    if (!options_.deterministic)
      return settle("ncclReduceScatter", [&] {
        return api_.ncclReduceScatter(in.data, out.data, size_t(out.numel()), sum_type(in), ncclSum, comm_,
                                      stream_of(stream));
      });
    check_tree_type(in);
    const int64_t stride = out.numel(), most = scratch_elements(in) / size_;
    for (int64_t begin = 0; begin < stride; begin += most) {
      const int64_t n = std::min(most, stride - begin);
      tree_sum_slices(in, begin, stride, n, out.slice(begin, n), stream);
    }
  }

  void all_gather(const TensorView& in, const TensorView& out, Stream& stream) override {
    DDP_CHECK(in.dtype == out.dtype && out.numel() == size_ * in.numel(), "all_gather of {} to {} on {} ranks",
              in.numel(), out.numel(), size_);
    gather(in, out.data, stream);
  }

  void barrier(Stream& stream) override {
    settle("ncclAllReduce of a barrier", [&] {
      return api_.ncclAllReduce(own_.data(), own_.data(), 1, ncclInt32, ncclMax, comm_, stream_of(stream));
    });
  }

 private:
  // Of every call on the communicator: the watchdog makes some too.
  template <class Call>
  ncclResult_t alone(Call call) {
    const std::lock_guard lock(calls_);
    return call();
  }

  // Throws for a result that is an error: Aborted where a peer is its cause.
  void check(ncclResult_t result, const char* call) {
    if (result != ncclSuccess) last_error_ = result;
    if (is_aborted_by_peer(result, options_.wait.abort_word)) throw Aborted(call);
    api_.check(result, comm_, call);
  }

  // Makes a call, and where it does not block, waits until it is complete on the host, which is when NCCL says so;
  // before that no event may be recorded.
  template <class Begin>
  void settle(const char* call, Begin begin) {
    if (is_blocking_) {
      const NcclWatchdog::Limit limit(*watchdog_, call, wait_);
      return check(alone(begin), call);
    }
    Deadline deadline(wait_);
    ncclResult_t result = alone(begin);
    while (result == ncclInProgress) {
      const FutexWord* abort_word = wait_.abort_word;
      if (abort_word != nullptr && abort_word->load(std::memory_order_acquire) != 0) throw Aborted(call);
      if (deadline.passed())
        throw Error(ExitCode::hang,
                    fmt::format("{} did not begin on every rank within {} s", call, wait_.timeout_ms / 1000));
      ::usleep(20);
      check(alone([&] { return api_.ncclCommGetAsyncError(comm_, &result); }), call);
    }
    check(result, call);
  }

  // The watchdog has let go of it.
  void abort() {
    if (!abort_nccl(api_, std::exchange(comm_, nullptr)))  // then nothing on the GPU can be freed either
      watchdog_->fail(ExitCode::os_resource,
                      "NCCL cannot capture collectives, and ncclCommAbort does not return; set train.nccl_blocking to "
                      "true, or train.cuda_graph to false");
  }

  uint8_t* scratch() const { return own_.data() + kNcclBarrierBytes; }
  int64_t scratch_bytes() const { return (own_.bytes() - kNcclBarrierBytes) / kUnitBytes * kUnitBytes; }
  int64_t scratch_elements(const TensorView& x) const { return scratch_bytes() / int64_t(dtype_bytes(x.dtype)); }

  template <class F>
  void for_each_piece(const TensorView& x, F f) {
    const int64_t most = scratch_elements(x);
    for (int64_t begin = 0; begin < x.numel(); begin += most) f(x.slice(begin, std::min(most, x.numel() - begin)));
  }

  void gather(const TensorView& in, void* out, Stream& stream) {
    settle("ncclAllGather",
           [&] { return api_.ncclAllGather(in.data, out, size_t(in.bytes()), ncclUint8, comm_, stream_of(stream)); });
  }

  TensorView sources(const TensorView& like, int64_t n) { return {scratch(), like.dtype, {size_, n}}; }

  // out (n) = the tree over ranks of elements [rank * stride + begin, + n) of `in`: slice r of every rank goes to rank
  // r.
  void tree_sum_slices(const TensorView& in, int64_t begin, int64_t stride, int64_t n, const TensorView& out,
                       Stream& stream) {
    const TensorView from_all = sources(in, n);
    const size_t bytes = size_t(out.bytes());
    settle("the exchange of a tree sum", [&] {
      check(api_.ncclGroupStart(), "ncclGroupStart");
      for (int peer = 0; peer < size_; ++peer) {
        const TensorView sent = in.slice(peer * stride + begin, n);
        begin_in_group(api_.ncclSend(sent.data, bytes, ncclUint8, peer, comm_, stream_of(stream)), "ncclSend");
        begin_in_group(
            api_.ncclRecv(bytes_of(from_all.rows(peer, 1)), bytes, ncclUint8, peer, comm_, stream_of(stream)),
            "ncclRecv");
      }
      return api_.ncclGroupEnd();
    });
    options_.tree_sum(out, from_all, stream);
  }

  void begin_in_group(ncclResult_t result, const char* call) {
    if (result != ncclInProgress) check(result, call);
  }

  // x (at most the scratch memory) = the tree over ranks. The last few elements, which do not divide into equal slices
  // of whole units, are gathered and added by every rank.
  void tree_all_reduce(const TensorView& x, Stream& stream) {
    const int64_t unit = kUnitBytes / int64_t(dtype_bytes(x.dtype));
    const int64_t n = x.numel() / size_ / unit * unit;
    if (n > 0) {
      const TensorView mine = x.slice(rank() * n, n);
      tree_sum_slices(x, 0, n, n, mine, stream);
      gather(mine, x.data, stream);
    }
    if (const int64_t rest = x.numel() - n * size_; rest > 0) {
      const TensorView part = x.slice(n * size_, rest), all = sources(x, rest);
      gather(part, all.data, stream);
      options_.tree_sum(part, all, stream);
    }
  }

  const NcclApi api_;
  Device& device_;
  Board& board_;
  const NcclCommOptions options_;
  const bool is_blocking_;
  WaitPolicy wait_;
  const int size_;
  SymmetricBuffers symmetric_;
  int64_t symmetric_used_ = 0;
  Buffer<uint8_t> own_;
  ncclComm_t comm_ = nullptr;
  ncclResult_t last_error_ = ncclSuccess;  // of the host's calls
  NcclCalls calls_;
  std::optional<NcclWatchdog> watchdog_;
};

}  // namespace

std::unique_ptr<Communicator> make_nccl_comm(Device& device, Board& board, const NcclCommOptions& options) {
  DDP_CHECK(device.kind() == DeviceKind::cuda, "NCCL is for GPUs");
  const NcclApi api = load_nccl(options.library);
  prepare_nccl_environment(api.version(), *board, options.rank, options.shares_gpu);
  const auto say = [&](const char* how, const std::string& why) {
    if (options.rank == 0) log::info("calls of NCCL {}: {}", how, why);
  };
  const auto make = [&](bool is_blocking, uint32_t number) {
    return std::make_unique<NcclComm>(api, device, board, options, is_blocking, number);
  };
  if (options.blocking == NcclBlocking::yes) {
    say("block", "train.nccl_blocking is true");
    return make(true, 1);
  }
  auto comm = make(false, 1);
  if (options.blocking == NcclBlocking::no) {
    say("do not block", "train.nccl_blocking is false");
  } else if (!options.is_captured) {
    say("do not block", "none is captured in a graph");
  } else {
    std::string fault;
    const int num_failed = comm->num_without_capture(fault);
    if (num_failed == 0) {
      say("do not block", "a captured all-reduce gave the sum of an eager one");
    } else {
      say("block", fmt::format("captured without blocking, an all-reduce failed on {} of {} ranks{}{}", num_failed,
                               board->world_size, fault.empty() ? "" : ": ", fault));
      comm.reset();  // its memory first
      comm = make(true, 2);
    }
  }
  return comm;
}

}  // namespace ddp
