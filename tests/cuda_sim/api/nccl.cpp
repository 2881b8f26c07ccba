// The subset of NCCL that the project calls, between processes over shared memory; built against the real header and
// opened in place of the library. It is as unhelpful as the real one may be: a dead peer goes unnoticed; calls of a
// non-blocking communicator are in progress for a while, and their work reaches the stream only then; a communicator
// is finalized when all ranks ask for it; sums start at another rank in each block, by seed; two ranks on one GPU of
// one host are refused. It reports ranks whose collectives differ, calls on a communicator that is still in progress or
// in another call, and destruction with work queued or a live graph. Faults that tests plant: an error in the middle of
// a collective of rank 1, an abort that hangs, two buckets of rank 1 in the wrong order, queries that take long, a
// peer's death that is told at once, a host's name that is not asked for, and collectives of a non-blocking
// communicator that a capture misses or fails by.
#include <nccl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "tests/cuda_sim/api/capture.h"
#include "tests/cuda_sim/api/gpu.h"
#include "tests/cuda_sim/api/memory.h"
#include "tests/cuda_sim/api/nccl_world.h"
#include "tests/cuda_sim/report.h"
#include "tests/support/from_f32.h"

using namespace ddp::sim;

// Outlives ncclCommDestroy while its work is queued.
struct ncclComm {
  NcclWorld* world = nullptr;
  int rank = 0, size = 0;
  bool is_blocking = true, has_joined_all = false, is_finalizing = false;
  std::mutex mutex;                          // of what follows, and held by a call as long as it takes
  int polls_left = 0;                        // until what was called is no longer in progress
  std::vector<std::function<void()>> begun;  // what then goes to a stream
  std::atomic<bool> aborted{false}, has_failed{false};
  std::atomic<int> num_queued{0};
  std::shared_ptr<const int> captured = std::make_shared<const int>();  // its other owners: nodes of graphs
  uint64_t num_pieces = 0;                                              // of the GPU's thread
  std::function<void()> held_back;                                      // a planted fault's
};

namespace {

constexpr int kPolls = 3;
constexpr int kLingerUs = 4000;  // a fifth of the watchdog's period
constexpr int kJoinPollUs = 100;
constexpr int kMultiRankGpuVersion = 23003;  // from here on two ranks may ask for one GPU
constexpr uint64_t kPiecesToFailure = 4;
constexpr int64_t kRotated = 1024;  // elements between two changes of the order of summation

size_t width_of(ncclDataType_t type) {
  switch (type) {
    case ncclInt8:
    case ncclUint8:
      return 1;
    case ncclFloat16:
    case ncclBfloat16:
      return 2;
    case ncclInt64:
    case ncclUint64:
    case ncclFloat64:
      return 8;
    default:
      return 4;
  }
}

// One collective: bytes of this rank go into its post piece by piece, and when all have come, take() reads the posts.
struct Collective {
  const char* name;
  Call call;
  // Copies bytes [begin, begin + n) of the input into the post; empty: this rank gives nothing.
  std::function<void(std::byte* post, int64_t begin, int64_t n)> put;
  std::function<void(NcclWorld*, int64_t begin, int64_t n)> take;
  int64_t piece_bytes = int64_t(kPostBytes);
  // Progress.
  int64_t begin = 0;
  bool has_put = false, has_taken = false;
};

bool all_reached(const std::atomic<uint64_t>* counts, int size, uint64_t target) {
  for (int r = 0; r < size; ++r)
    if (counts[r].load(std::memory_order_acquire) < target) return false;
  return true;
}

// The library has no lock there: a query of errors frees what a call has left.
class SoleCall {
 public:
  explicit SoleCall(ncclComm* comm) : lock_(comm->mutex, std::try_to_lock) {
    if (lock_) return;
    report("NCCL calls overlap", "two threads call NCCL on one communicator");
    lock_.lock();
  }

 private:
  std::unique_lock<std::mutex> lock_;
};

void compare_calls(const ncclComm& comm) {
  const Call& mine = comm.world->calls[comm.rank];
  for (int r = 0; r < comm.size; ++r) {
    const Call& theirs = comm.world->calls[r];
    if (std::memcmp(&mine, &theirs, sizeof mine) == 0) continue;
    report("different collectives", "rank {} {} of {} bytes at +{}, rank {} {} of {} bytes at +{}", comm.rank,
           mine.name, mine.bytes, mine.offset, r, theirs.name, theirs.bytes, theirs.offset);
  }
}

// False while it waits for peers.
bool progress(ncclComm& comm, Collective& c) {
  NcclWorld* world = comm.world;
  do {
    if (comm.aborted.load()) return true;
    if (comm.rank == 1 && comm.num_pieces >= kPiecesToFailure && is_planted("nccl-error")) comm.has_failed.store(true);
    if (comm.has_failed.load()) return false;  // the GPU is stuck
    const uint64_t piece = comm.num_pieces + 1;
    const int64_t n = std::min(c.call.bytes - c.begin, c.piece_bytes);
    if (!c.has_put) {
      world->calls[comm.rank] = c.call;
      std::strncpy(world->calls[comm.rank].name, c.name, sizeof c.call.name - 1);
      if (c.put) c.put(post_of(world, comm.rank), c.begin, n);
      world->put[comm.rank].store(piece, std::memory_order_release);
      c.has_put = true;
    }
    if (!c.has_taken) {
      if (!all_reached(world->put, comm.size, piece)) return false;
      compare_calls(comm);
      c.take(world, c.begin, n);
      world->taken[comm.rank].store(piece, std::memory_order_release);
      c.has_taken = true;
    }
    if (!all_reached(world->taken, comm.size, piece)) return false;
    ++comm.num_pieces;
    c.begin += n;
    c.has_put = c.has_taken = false;
  } while (c.begin < c.call.bytes);
  return true;
}

// Of a library whose thread launches the work of a non-blocking communicator: a call of that thread may make the
// capture fail, here on rank 1, or the capture may miss the work, on all ranks or on rank 1, for which the others then
// wait. True: it is missed.
bool is_lost_to_capture(ncclComm& comm, cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  if (comm.is_blocking || cudaStreamIsCapturing(stream, &status) != cudaSuccess ||
      status != cudaStreamCaptureStatusActive)
    return false;
  const bool fails = comm.rank == 1 && is_planted("nccl-capture-fails");
  const bool hangs = comm.rank == 1 && is_planted("nccl-capture-hangs");
  if (fails) std::thread([=] { refuse_in_capture(stream); }).join();
  if (fails || hangs) comm.has_failed.store(true);  // NCCL has seen an error too, and will say so
  return hangs || is_planted("nccl-capture-misses");
}

void enqueue(ncclComm* comm, cudaStream_t stream, const Collective& collective) {
  if (is_lost_to_capture(*comm, stream)) return;
  gpu().submit(stream, collective.name, Prepare([comm, collective, keep = comm->captured] {
                 ++comm->num_queued;
                 return Run([comm, state = std::make_shared<Collective>(collective)] {
                   if (!progress(*comm, *state)) return false;
                   --comm->num_queued;
                   return true;
                 });
               }));
}

ncclResult_t begin(ncclComm* comm, cudaStream_t stream, const Collective& collective) {
  const SoleCall call(comm);
  if (!comm->begun.empty() || comm->polls_left > 0)
    report("NCCL call in progress", "{} before the call before it was done", collective.name);
  if (comm->is_blocking) {
    enqueue(comm, stream, collective);
    return ncclSuccess;
  }
  comm->begun.push_back([=] { enqueue(comm, stream, collective); });
  comm->polls_left = kPolls;
  return ncclInProgress;
}

Call make_call(int64_t bytes, const void* at, ncclDataType_t type, int op, int root) {
  Call call{};
  call.bytes = bytes;
  call.offset = device_offset(at);
  call.type = type;
  call.op = op;
  call.root = root;
  return call;
}

auto put_from(const void* send) {
  return [send](std::byte* post, int64_t begin, int64_t n) {
    note_access(static_cast<const std::byte*>(send) + begin, size_t(n), false);
    std::memcpy(post, static_cast<const std::byte*>(send) + begin, size_t(n));
  };
}

// The sum or the larger; 16 bits are rounded at each addition.
template <class T>
T combine(T a, T b, bool is_max) {
  if constexpr (sizeof(T) == 2)
    return ddp::test::from_f32<T>(combine(to_f32(a), to_f32(b), is_max));
  else
    return is_max ? std::max(a, b) : a + b;
}

// out[i] = the sum over ranks, from another first rank in each block.
template <class T>
void sum(void* to, NcclWorld* world, int size, int64_t first, int64_t n, bool is_max) {
  T* out = static_cast<T*>(to);
  for (int64_t i = 0; i < n; ++i) {
    const int start = int((uint64_t((first + i) / kRotated) + world->seed) % uint64_t(size));
    T total{};
    for (int k = 0; k < size; ++k) {
      const T value = reinterpret_cast<const T*>(post_of(world, (start + k) % size))[i];
      total = k == 0 ? value : combine(total, value, is_max);
    }
    out[i] = total;
  }
}

void reduce(void* out, NcclWorld* world, int size, int64_t begin, int64_t bytes, ncclDataType_t type, bool is_max) {
  const int64_t width = int64_t(width_of(type)), first = begin / width, n = bytes / width;
  if (type == ncclFloat32) return sum<float>(out, world, size, first, n, is_max);
  if (type == ncclFloat64) return sum<double>(out, world, size, first, n, is_max);
  if (type == ncclFloat16) return sum<ddp::Half>(out, world, size, first, n, is_max);
  if (type == ncclBfloat16) return sum<ddp::BFloat16>(out, world, size, first, n, is_max);
  if (type == ncclInt32) return sum<int32_t>(out, world, size, first, n, is_max);
  report("simulator", "a sum of NCCL type {}", int(type));
}

void write(void* to, const void* from, int64_t n) {
  note_access(to, size_t(n), true);
  std::memcpy(to, from, size_t(n));
}

// Sends and receives of a group, which together are one exchange.
struct Transfer {
  std::byte* memory;
  int64_t bytes;
  int peer;
};
struct Group {
  int depth = 0;
  std::vector<Transfer> sends, receives;
  ncclComm* comm = nullptr;
  cudaStream_t stream = nullptr;
};
thread_local Group group;

ncclResult_t exchange(const Group& g) {
  const int64_t bytes = g.sends.front().bytes;
  for (const Transfer& t : g.sends)
    if (t.bytes != bytes) report("simulator", "a group of sends of different sizes");
  for (const Transfer& t : g.receives)
    if (t.bytes != bytes) report("simulator", "a receive of another size than the sends");
  const int64_t share = int64_t(kPostBytes) / g.comm->size;  // of a post, for each peer
  const int rank = g.comm->rank;
  Collective c{
      .name = "ncclSend and ncclRecv", .call = make_call(bytes, g.comm->world, ncclUint8, 0, 0), .put = {}, .take = {}};
  c.call.offset = 0;  // of several buffers
  c.piece_bytes = share;
  c.put = [sends = g.sends, share](std::byte* post, int64_t begin, int64_t n) {
    for (const Transfer& t : sends) {
      note_access(t.memory + begin, size_t(n), false);
      std::memcpy(post + t.peer * share, t.memory + begin, size_t(n));
    }
  };
  c.take = [receives = g.receives, share, rank](NcclWorld* world, int64_t begin, int64_t n) {
    for (const Transfer& t : receives) write(t.memory + begin, post_of(world, t.peer) + rank * share, n);
  };
  return begin(g.comm, g.stream, c);
}

ncclResult_t add_transfer(std::vector<Transfer>& list, void* memory, size_t count, ncclDataType_t type, int peer,
                          ncclComm_t comm, cudaStream_t stream) {
  if (group.depth == 0) return ncclInvalidUsage;  // the project only sends in groups
  group.comm = comm;
  group.stream = stream;
  list.push_back({static_cast<std::byte*>(memory), int64_t(count * width_of(type)), peer});
  return ncclSuccess;
}

// Rank 1 swaps two all-reduces.
ncclResult_t swap_buckets(ncclComm* comm, cudaStream_t stream, const Collective& c) {
  if (!comm->held_back) {
    comm->held_back = [=] { enqueue(comm, stream, c); };
    return ncclSuccess;
  }
  const ncclResult_t result = begin(comm, stream, c);
  const std::lock_guard lock(comm->mutex);
  comm->begun.push_back(std::exchange(comm->held_back, nullptr));
  return result;
}

const char* variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

int version() {
  const int given = std::atoi(variable("DDP_SIM_NCCL"));
  return given != 0 ? given : NCCL_VERSION_CODE;
}

// Of a rank that was pinned to one.
void note_place(RankPlace& place) {
  place.pid = ::getpid();
  std::snprintf(place.gpu, sizeof place.gpu, "%s", variable("CUDA_VISIBLE_DEVICES"));
  std::snprintf(place.host, sizeof place.host, "%s", variable("NCCL_HOSTID"));
}

// Once all have joined.
bool has_duplicate_gpu(const ncclComm& comm) {
  if (version() >= kMultiRankGpuVersion && std::string_view(variable("NCCL_MULTI_RANK_GPU_ENABLE")) == "1")
    return false;
  const RankPlace& mine = comm.world->places[comm.rank];
  for (int r = 0; r < comm.size; ++r) {
    const RankPlace& theirs = comm.world->places[r];
    const bool is_host_the_same = std::strcmp(mine.host, theirs.host) == 0 || is_planted("nccl-ignores-hostid");
    if (r != comm.rank && mine.gpu[0] != '\0' && std::strcmp(mine.gpu, theirs.gpu) == 0 && is_host_the_same)
      return true;
  }
  return false;
}

// Also of one that nobody has waited for.
bool has_ended(int pid) {
  const auto fd = int(::syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0) return true;
  pollfd ended = {.fd = fd, .events = POLLIN, .revents = 0};
  ::poll(&ended, 1, 0);
  ::close(fd);
  return ended.revents != 0;
}

bool has_dead_peer(const ncclComm& comm) {
  for (int r = 0; r < comm.size; ++r)
    if (r != comm.rank && has_ended(comm.world->places[r].pid)) return true;
  return false;
}

bool have_all_joined(ncclComm& comm) {
  comm.has_joined_all = comm.has_joined_all || comm.world->num_joined.load() >= comm.size;
  return comm.has_joined_all;
}

bool have_all_finalized(const ncclComm& comm) { return comm.world->num_finalizing.load() >= comm.size; }

thread_local const char* last_error = "";

ncclResult_t state_of_init(const ncclComm& comm) {
  if (!has_duplicate_gpu(comm)) return ncclSuccess;
  last_error = "Duplicate GPU detected";
  return ncclInvalidUsage;
}

}  // namespace

extern "C" {

ncclResult_t ncclGetVersion(int* out) {
  *out = version();
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess:
      return "no error";
    case ncclInProgress:
      return "NCCL operation in progress";
    case ncclRemoteError:
      return "remote process exited or there was a network error";
    case ncclSystemError:
      return "unhandled system error";
    default:
      return "invalid usage";
  }
}

const char* ncclGetLastError(ncclComm_t) { return last_error; }

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) { return create_world(*id) ? ncclSuccess : ncclSystemError; }

ncclResult_t ncclCommInitRankConfig(ncclComm_t* out, int size, ncclUniqueId id, int rank, ncclConfig_t* config) {
  if (size < 1 || size > kMaxNcclRanks || rank < 0 || rank >= size) return ncclInvalidArgument;
  auto* comm = new ncclComm;
  comm->world = open_world(id, size);
  if (comm->world == nullptr) return ncclSystemError;
  comm->rank = rank;
  comm->size = size;
  comm->is_blocking = config->blocking != 0;
  note_place(comm->world->places[rank]);
  comm->world->num_joined.fetch_add(1);
  *out = comm;
  if (comm->is_blocking) {
    while (!have_all_joined(*comm)) ::usleep(kJoinPollUs);
    return state_of_init(*comm);
  }
  comm->polls_left = kPolls;
  return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* state) {
  const SoleCall call(comm);
  if (is_planted("nccl-lingers")) ::usleep(kLingerUs);
  *state = ncclInProgress;
  if (comm->aborted.load()) {
    *state = ncclRemoteError;
    return ncclSuccess;
  }
  if (comm->has_failed.load()) {
    *state = ncclSystemError;
    return ncclSuccess;
  }
  if (!have_all_joined(*comm) || --comm->polls_left > 0) return ncclSuccess;
  if (comm->is_finalizing && !have_all_finalized(*comm)) return ncclSuccess;
  comm->polls_left = 0;
  *state = is_planted("nccl-remote-error") && has_dead_peer(*comm) ? ncclRemoteError : state_of_init(*comm);
  if (*state == ncclSuccess)
    for (const auto& enqueue : std::exchange(comm->begun, {})) enqueue();
  return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  const SoleCall call(comm);
  comm->is_finalizing = true;
  comm->world->num_finalizing.fetch_add(1);
  if (comm->is_blocking) {
    while (!have_all_finalized(*comm)) ::usleep(kJoinPollUs);
    return ncclSuccess;
  }
  comm->polls_left = kPolls;
  return ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  if (comm->num_queued.load() > 0) {
    report("NCCL destroyed early", "ncclCommDestroy with {} collectives queued", comm->num_queued.load());
    return ncclInvalidUsage;
  }
  if (comm->captured.use_count() > 1) {
    report("NCCL destroyed early", "ncclCommDestroy with {} collectives in a live graph",
           comm->captured.use_count() - 1);
    return ncclInvalidUsage;
  }
  close_world(comm->world, comm->size);
  delete comm;
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  while (is_planted("nccl-abort-hangs")) ::pause();
  static auto* const kept = new std::vector<ncclComm_t>;  // the GPU may be at work for it yet
  kept->push_back(comm);
  comm->aborted.store(true);
  return ncclSuccess;
}

ncclResult_t ncclGroupStart() {
  ++group.depth;
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
  if (group.depth == 0) return ncclInvalidUsage;
  if (--group.depth > 0) return ncclSuccess;
  const Group done = std::exchange(group, {});
  return done.sends.empty() ? ncclSuccess : exchange(done);
}

ncclResult_t ncclSend(const void* send, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return add_transfer(group.sends, const_cast<void*>(send), count, type, peer, comm, stream);
}

ncclResult_t ncclRecv(void* receive, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return add_transfer(group.receives, receive, count, type, peer, comm, stream);
}

ncclResult_t ncclAllReduce(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream) {
  const Collective c{.name = "ncclAllReduce",
                     .call = make_call(int64_t(count * width_of(type)), receive, type, op, 0),
                     .put = put_from(send),
                     .take = [=, size = comm->size](NcclWorld* world, int64_t begin, int64_t n) {
                       note_access(static_cast<std::byte*>(receive) + begin, size_t(n), true);
                       reduce(static_cast<std::byte*>(receive) + begin, world, size, begin, n, type, op == ncclMax);
                     }};
  if (comm->rank == 1 && is_planted("bucket-order")) return swap_buckets(comm, stream, c);
  return begin(comm, stream, c);
}

// Reduces all of the input, of which this rank keeps its part.
ncclResult_t ncclReduceScatter(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t comm, cudaStream_t stream) {
  const int64_t part = int64_t(count * width_of(type)), first = part * comm->rank;
  const Collective c{.name = "ncclReduceScatter",
                     .call = make_call(part * comm->size, send, type, op, 0),
                     .put = put_from(send),
                     .take = [=, size = comm->size](NcclWorld* world, int64_t begin, int64_t n) {
                       std::vector<std::byte> all(static_cast<size_t>(n));
                       reduce(all.data(), world, size, begin, n, type, op == ncclMax);
                       const int64_t low = std::max(begin, first), high = std::min(begin + n, first + part);
                       if (low < high)
                         write(static_cast<std::byte*>(receive) + (low - first), all.data() + (low - begin),
                               high - low);
                     }};
  return begin(comm, stream, c);
}

ncclResult_t ncclBroadcast(const void* send, void* receive, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  Collective c{.name = "ncclBroadcast",
               .call = make_call(int64_t(count * width_of(type)), receive, type, 0, root),
               .put = {},
               .take = [=](NcclWorld* world, int64_t begin, int64_t n) {
                 write(static_cast<std::byte*>(receive) + begin, post_of(world, root), n);
               }};
  if (comm->rank == root) c.put = put_from(send);
  return begin(comm, stream, c);
}

ncclResult_t ncclAllGather(const void* send, void* receive, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
  const int64_t bytes = int64_t(count * width_of(type));
  const Collective c{.name = "ncclAllGather",
                     .call = make_call(bytes, receive, type, 0, 0),
                     .put = put_from(send),
                     .take = [=, size = comm->size](NcclWorld* world, int64_t begin, int64_t n) {
                       for (int r = 0; r < size; ++r)
                         write(static_cast<std::byte*>(receive) + r * bytes + begin, post_of(world, r), n);
                     }};
  return begin(comm, stream, c);
}

}  // extern "C"
