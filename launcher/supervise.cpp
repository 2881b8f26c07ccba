#include "launcher/supervise.h"

#include <errno.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "launcher/oom.h"
#include "runtime/base/clock.h"
#include "runtime/base/system_limits.h"

namespace ddp {
namespace {

constexpr int64_t kTickNs = 100'000'000;

class Loop {
 public:
  explicit Loop(const Supervision& job)
      : job_(job), supervisor_(job.ranks.size(), job.limits, monotonic_ns()), oom_kills_(count_oom_kills()) {
    epoll_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
    timer_ = Fd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    if (!epoll_ || !timer_) throw os_error("cannot create the event loop", errno);
    const itimerspec each = {{0, kTickNs}, {0, kTickNs}};
    ::timerfd_settime(timer_.get(), 0, &each, nullptr);
    watch(timer_.get(), Source::timer, 0);
    watch(job.signals.fd().get(), Source::signal, 0);
    if (job.holder_fd >= 0) watch(job.holder_fd, Source::holder, 0, EPOLLRDHUP);  // not what may be written there
    for (int rank = 0; rank < job.ranks.size(); ++rank) {
      watch(job.ranks[rank].pidfd.get(), Source::exit, rank);
      watch(job.ranks[rank].log.get(), Source::log, rank);
    }
  }

  Outcome run() {
    std::array<epoll_event, 32> events;
    while (!supervisor_.done()) {
      const int n = ::epoll_wait(epoll_.get(), events.data(), int(events.size()), -1);
      if (n < 0 && errno != EINTR) throw os_error("cannot wait for events", errno);
      for (int i = 0; i < n; ++i)
        handle(Source(events[size_t(i)].data.u64 >> 32), int(uint32_t(events[size_t(i)].data.u64)));
    }
    return supervisor_.outcome();
  }

 private:
  enum class Source : uint32_t { timer, signal, holder, exit, log };

  void watch(int fd, Source source, int rank, uint32_t events = EPOLLIN) {
    epoll_event event = {};
    event.events = events;
    event.data.u64 = uint64_t(source) << 32 | uint32_t(rank);
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) throw os_error("cannot watch a descriptor", errno);
  }
  void unwatch(int fd) { ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

  void handle(Source source, int rank) {
    switch (source) {
      case Source::timer:
        return on_timer();
      case Source::signal:
        return on_signal();
      case Source::holder:
        return on_holder_gone();
      case Source::exit:
        return on_exit(rank);
      case Source::log:
        return on_log(rank);
    }
  }

  void on_timer() {
    uint64_t expirations;
    [[maybe_unused]] const ssize_t n = ::read(timer_.get(), &expirations, sizeof expirations);
    const int64_t now = monotonic_ns();
    carry_out(supervisor_.on_tick(views(), job_.board->first_failure.load(std::memory_order_acquire), now));
    if (supervisor_.saw_progress()) job_.board->progress.fetch_add(1, std::memory_order_relaxed);
    if (job_.on_tick) job_.on_tick(now);
    job_.logs.flush();
    job_.console.flush();
  }

  void on_signal() {
    for (TakenSignal taken = job_.signals.next(); taken.number != 0; taken = job_.signals.next()) {
      taken_ = taken;
      carry_out(supervisor_.on_signal(taken.number, monotonic_ns()));
    }
  }

  void on_holder_gone() {
    unwatch(job_.holder_fd);  // it stays so
    carry_out(supervisor_.on_holder_gone(monotonic_ns()));
  }

  void on_exit(int rank) {
    unwatch(job_.ranks[rank].pidfd.get());
    RankExit exit{rank, job_.ranks.reap(rank)};
    const bool by_kill = WIFSIGNALED(exit.wait_status) && WTERMSIG(exit.wait_status) == SIGKILL;
    exit.oom = by_kill && count_oom_kills() > oom_kills_;
    const int64_t now = monotonic_ns();
    while (take_output(rank)) {}
    job_.logs.finish(rank);
    unwatch(job_.ranks[rank].log.get());
    const std::vector<RankView> seen = views();
    // The first-failure word is offered to a rank that died without a word, so that what its victims report later
    // cannot take it.
    uint32_t first = 0;
    if (Supervisor::is_failure(exit.wait_status, seen[size_t(rank)].phase) &&
        job_.board->first_failure.compare_exchange_strong(first, uint32_t(rank) + 1, std::memory_order_acq_rel))
      first = uint32_t(rank) + 1;
    carry_out(supervisor_.on_exit(exit, seen, first, now));
  }

  void on_log(int rank) { take_output(rank); }

  // Reads one piece of the rank's output; false when there is no more for now.
  bool take_output(int rank) {
    const int fd = job_.ranks[rank].log.get();
    const ssize_t n = ::read(fd, buffer_.data(), buffer_.size());
    if (n < 0 && errno == EINTR) return true;
    if (n > 0) job_.logs.feed(rank, {buffer_.data(), size_t(n)});
    if (n == 0) unwatch(fd);  // it closed its output, and may live on
    return n > 0;
  }

  std::vector<RankView> views() const {
    std::vector<RankView> out;
    for (int rank = 0; rank < job_.ranks.size(); ++rank) {
      const RankStatus& status = job_.board->ranks[size_t(rank)];
      RankView& view = out.emplace_back();
      view.phase = Phase(status.phase.load(std::memory_order_acquire));
      view.step = status.step.load(std::memory_order_relaxed);
      view.bucket = status.bucket.load(std::memory_order_relaxed);
      view.heartbeat_ns = status.heartbeat_ns.load(std::memory_order_relaxed);
      if (view.phase == Phase::load || view.phase == Phase::checkpoint) view.io_bytes = job_.ranks.io_bytes(rank);
      view.stopped = job_.ranks.is_stopped(rank);
      view.reported = status.error.ready.load(std::memory_order_acquire) != 0;
      if (!view.reported) continue;
      view.error_code = status.error.code;
      view.error_text.assign(status.error.text, ::strnlen(status.error.text, sizeof status.error.text));
      std::replace(view.error_text.begin(), view.error_text.end(), '\n', ' ');
    }
    return out;
  }

  void carry_out(const Actions& actions) {
    for (const Action& action : actions) {
      switch (action.kind) {
        case Action::Kind::abort:
          abort(action.rank);
          break;
        case Action::Kind::kill:
          job_.ranks.kill_all();
          break;
        case Action::Kind::request_stop:
          job_.board->stop_requested.store(1, std::memory_order_release);
          break;
        case Action::Kind::request_checkpoint:
          job_.board->checkpoint_requests.fetch_add(1);
          break;
        case Action::Kind::suspend:
          suspend();
          break;
        case Action::Kind::say:
          job_.console.message("ddp-launch: " + action.text);
          break;
      }
    }
  }

  void abort(int rank) {
    uint32_t none = 0, word = rank < 0 ? kAbortByUser : uint32_t(rank) + 1;
    job_.board->first_failure.compare_exchange_strong(none, word, std::memory_order_acq_rel);
    job_.board->abort_word.store(word, std::memory_order_release);
    wake_all(job_.board->abort_word);
    wake_all(job_.board->barrier.generation);  // waiters elsewhere look at the abort word every 100 ms
  }

  // Ctrl-Z. Returns when this process was continued.
  void suspend() {
    job_.console.clear();
    job_.ranks.suspend();
    stop_self(taken_);
    job_.ranks.resume();
    supervisor_.on_continued(monotonic_ns());
    job_.console.redraw();
  }

  const Supervision& job_;
  Supervisor supervisor_;
  int64_t oom_kills_;  // when the run began
  Fd epoll_, timer_;
  TakenSignal taken_;  // the last one
  std::array<char, 64 * 1024> buffer_;
};

}  // namespace

Outcome supervise(const Supervision& job) { return Loop(job).run(); }

int64_t newest_step(const Board& board) {
  int64_t step = 0;
  for (uint32_t rank = 0; rank < board->world_size; ++rank)
    step = std::max(step, board->ranks[rank].step.load(std::memory_order_relaxed));
  return step;
}

}  // namespace ddp
