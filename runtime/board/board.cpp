#include "runtime/board/board.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/base/system_limits.h"

namespace ddp {
namespace {

constexpr uint64_t kMagic = 0x64'64'70'2d'62'6f'61'72ull;  // "ddp-boar"
constexpr uint32_t kVersion = 6;

BoardLayout* map(const Fd& fd) {
  void* memory = ::mmap(nullptr, sizeof(BoardLayout), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (memory == MAP_FAILED) throw os_error("cannot map the board", errno);
  return static_cast<BoardLayout*>(memory);
}

}  // namespace

const char* phase_name(Phase phase) {
  switch (phase) {
    case Phase::not_started:
      return "start";
    case Phase::rendezvous:
      return "rendezvous";
    case Phase::plan:
      return "plan";
    case Phase::load:
      return "load";
    case Phase::data_wait:
      return "data";
    case Phase::forward:
      return "forward";
    case Phase::backward:
      return "backward";
    case Phase::update:
      return "update";
    case Phase::checkpoint:
      return "checkpoint";
    case Phase::evaluate:
      return "evaluate";
    case Phase::finished:
      return "finished";
  }
  return "?";
}

void BoardBarrier::arrive_and_wait(uint32_t n, const WaitPolicy& policy, const char* where) {
  const uint32_t seen = generation.load(std::memory_order_acquire);
  if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == n) {
    arrived.store(0, std::memory_order_relaxed);
    generation.fetch_add(1, std::memory_order_release);
    wake_all(generation);
    return;
  }
  wait_while_equal(generation, seen, policy, where);
}

// The second barrier keeps the next vote from the eyes of those who still count this one.
int BoardVote::count_against(bool is_against, uint32_t n, const WaitPolicy& policy, const char* where) {
  if (is_against) num_against.fetch_add(1, std::memory_order_relaxed);
  barrier.arrive_and_wait(n, policy, where);
  const auto result = int(num_against.load(std::memory_order_relaxed));
  barrier.arrive_and_wait(n, policy, where);
  return result;
}

Board Board::create(int world_size) {
  DDP_CHECK(world_size >= 1 && world_size <= kMaxRanks, "world size {}", world_size);
  Fd fd(::memfd_create("ddp-board", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) throw os_error("cannot create the board", errno);
  // posix_fallocate reports a full memory here, as an error; ftruncate alone would end in a SIGBUS at the first touch.
  if (const int e = ::posix_fallocate(fd.get(), 0, sizeof(BoardLayout)); e != 0)
    throw os_error("cannot reserve the board's memory", e);
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    throw os_error("cannot seal the board", errno);
  ::fchmod(fd.get(), 0600);
  BoardLayout* layout = new (map(fd)) BoardLayout();
  layout->magic = kMagic;
  layout->version = kVersion;
  layout->world_size = uint32_t(world_size);
  for (RankStatus& rank : layout->ranks) rank.bucket.store(-1, std::memory_order_relaxed);
  return Board(std::move(fd), layout);
}

Board Board::attach(Fd fd) {
  struct stat info;
  if (::fstat(fd.get(), &info) != 0 || info.st_size != off_t(sizeof(BoardLayout)))
    throw Error(ExitCode::rendezvous, "the inherited board has the wrong size",
                "run ddp-launch and ddp-rank of the same build");
  ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
  BoardLayout* layout = map(fd);
  if (layout->magic != kMagic || layout->version != kVersion || layout->world_size < 1 ||
      layout->world_size > uint32_t(kMaxRanks) || layout->config_bytes > uint32_t(kMaxConfigBytes)) {
    ::munmap(layout, sizeof(BoardLayout));
    throw Error(ExitCode::rendezvous, "the inherited board is not one of this build",
                "run ddp-launch and ddp-rank of the same build");
  }
  return Board(std::move(fd), layout);
}

Board::Board(Board&& other) noexcept : fd_(std::move(other.fd_)), layout_(std::exchange(other.layout_, nullptr)) {}

Board::~Board() {
  if (layout_ != nullptr) ::munmap(layout_, sizeof(BoardLayout));
}

void Board::set_config(std::string_view text) {
  if (text.size() > size_t(kMaxConfigBytes)) throw Error(ExitCode::config, "the resolved configuration exceeds 1 MiB");
  std::copy(text.begin(), text.end(), layout_->config.begin());
  layout_->config_bytes = uint32_t(text.size());
}

std::string Board::config() const { return std::string(layout_->config.data(), layout_->config_bytes); }

void Board::set_result(std::string_view text) {
  DDP_CHECK(text.size() < size_t(kMaxResultBytes), "a result of {} bytes", text.size());
  *std::copy(text.begin(), text.end(), layout_->result.begin()) = '\0';
}

std::string Board::result() const { return layout_->result.data(); }

void Board::report_error(int rank, int code, std::string_view text) {
  ErrorRecord& record = layout_->ranks[size_t(rank)].error;
  if (record.ready.load(std::memory_order_acquire) != 0) return;  // the first error of a rank is the one that counts
  const size_t n = std::min(text.size(), sizeof record.text - 1);
  std::memcpy(record.text, text.data(), n);
  record.text[n] = '\0';
  record.code = code;
  record.ready.store(1, std::memory_order_release);
  uint32_t none = 0;
  layout_->first_failure.compare_exchange_strong(none, uint32_t(rank) + 1, std::memory_order_acq_rel);
}

}  // namespace ddp
