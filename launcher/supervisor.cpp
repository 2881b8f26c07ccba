#include "launcher/supervisor.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/base/exit_codes.h"

namespace ddp {
namespace {

std::string signal_text(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name == nullptr ? fmt::format("signal {}", signal) : fmt::format("SIG{}", name);
}

constexpr int kLoaderFailed = 127;  // of the dynamic loader: a library is missing, or there is no memory for one

std::string cause_of(const RankExit& exit) {
  if (WIFSIGNALED(exit.wait_status)) {
    const int signal = WTERMSIG(exit.wait_status);
    return exit.oom && signal == SIGKILL ? "killed by the host's OOM killer" : "killed by " + signal_text(signal);
  }
  const int code = WEXITSTATUS(exit.wait_status);
  if (code == 0) return "exited before its work was done";
  if (code == kLoaderFailed) return "its program or a library of it could not be loaded; its log says why";
  return fmt::format("exited with code {} and no message; its log may say more", code);
}

int code_of(int wait_status) {
  if (WIFSIGNALED(wait_status)) return kSignalBase + WTERMSIG(wait_status);
  const int code = WEXITSTATUS(wait_status);
  if (code == kLoaderFailed) return int(ExitCode::os_resource);
  return code == 0 ? int(ExitCode::internal) : code;
}

// The rank that the others wait for: one that is stopped, else the one that is furthest behind, else the longest
// silent.
int straggler(std::span<const RankView> ranks) {
  const auto behind = [](const RankView& a, const RankView& b) {
    return std::make_tuple(!a.stopped, a.step, a.phase, a.bucket, a.heartbeat_ns) <
           std::make_tuple(!b.stopped, b.step, b.phase, b.bucket, b.heartbeat_ns);
  };
  return int(std::min_element(ranks.begin(), ranks.end(), behind) - ranks.begin());
}

}  // namespace

const char* run_state_name(RunState state) {
  switch (state) {
    case RunState::running:
      return "running";
    case RunState::finished:
      return "finished";
    case RunState::stopped:
      return "stopped";
    case RunState::failed:
      return "failed";
  }
  return "?";
}

Supervisor::Supervisor(int num_ranks, const SupervisorLimits& limits, int64_t now_ns)
    : limits_(limits), ranks_(size_t(num_ranks)), num_alive_(num_ranks), last_tick_ns_(now_ns) {}

bool Supervisor::is_failure(int wait_status, Phase phase) {
  if (!WIFEXITED(wait_status)) return true;
  const int code = WEXITSTATUS(wait_status);
  return code == 0 ? phase != Phase::finished : code != int(ExitCode::stopped_early);
}

Actions Supervisor::on_exit(const RankExit& exit, std::span<const RankView> views, uint32_t first_failure,
                            int64_t now_ns) {
  Rank& rank = ranks_[size_t(exit.rank)];
  DDP_CHECK(rank.alive, "rank {} exited twice", exit.rank);
  rank.alive = false;
  rank.wait_status = exit.wait_status;
  --num_alive_;
  Actions actions;
  const RankView& view = views[size_t(exit.rank)];
  const bool failed = is_failure(exit.wait_status, view.phase) || view.reported;
  if (failed && mode_ != Mode::failing && mode_ != Mode::killed) {
    const int first = first_failure == 0 ? exit.rank : int(first_failure) - 1;
    const RankView& blamed = views[size_t(first)];
    if (blamed.reported)
      actions = fail(first, blamed.error_code, blamed.error_text, views, now_ns);
    else
      actions = fail(first, code_of(exit.wait_status), cause_of(exit), views, now_ns);
  }
  // A second cause of its own, not a victim: it reported an error, or died of a signal before ours was sent.
  if (mode_ == Mode::failing && exit.rank != outcome_.failure.rank &&
      (view.reported || (WIFSIGNALED(exit.wait_status) && !kill_sent_))) {
    std::erase(outcome_.failure.victims, exit.rank);
    const std::string cause = view.reported ? view.error_text : cause_of(exit);
    const bool is_same = view.reported && cause == outcome_.failure.cause;  // what all ranks decide alike
    if (!is_same) outcome_.failure.also.push_back(fmt::format("rank {}: {}", exit.rank, cause));
  }
  if (done()) conclude(now_ns);
  return actions;
}

Actions Supervisor::fail(int rank, int exit_code, const std::string& cause, std::span<const RankView> views,
                         int64_t now_ns) {
  mode_ = Mode::failing;
  failed_at_ns_ = last_tick_ns_ = now_ns;
  Failure& failure = outcome_.failure;
  failure.rank = rank;
  failure.where = views[size_t(rank)];
  failure.cause = cause;
  failure.exit_code = exit_code;
  for (int r = 0; r < int(ranks_.size()); ++r)
    if (r != rank && ranks_[size_t(r)].alive) failure.victims.push_back(r);
  return {{Action::Kind::abort, rank, {}}};
}

Actions Supervisor::on_signal(int signal, int64_t now_ns) {
  switch (signal) {
    case SIGUSR1:
    case SIGUSR2:
      return {{Action::Kind::request_checkpoint, -1, {}}};
    case SIGTSTP:
    case SIGTTIN:
    case SIGTTOU:
      return {{Action::Kind::suspend, -1, {}}};
    case SIGCONT:  // of a stop that the launcher did not see: the ranks were not stopped for it
      return {};
    default:
      return on_stop(signal, signal_text(signal), now_ns);
  }
}

Actions Supervisor::on_holder_gone(int64_t now_ns) {
  const std::string why = "the other end of --stop-when-closed is closed";
  const bool ends_at_once = mode_ == Mode::running && !limits_.has_commits;
  Actions actions = on_stop(SIGTERM, why, now_ns);
  if (ends_at_once) actions.push_back({Action::Kind::say, -1, why});  // no SIGTERM came, which it ends by
  return actions;
}

Actions Supervisor::on_stop(int signal, const std::string& why, int64_t now_ns) {
  if (signal == SIGINT && ++num_interrupts_ == 1) first_interrupt_ns_ = now_ns;
  const char* const how_at_once = signal == SIGINT ? "; again after 2 s, or twice more, to stop at once" : "";
  switch (mode_) {
    case Mode::running:
      if (!limits_.has_commits) return end_at_once(signal);
      mode_ = Mode::stopping;
      answered_ns_ = now_ns;
      return {{Action::Kind::request_stop, -1, {}},
              {Action::Kind::say, -1, why + ": finishing the step, then checkpoint" + how_at_once}};
    case Mode::stopping:
      if (signal == SIGINT && (num_interrupts_ >= 3 || now_ns - first_interrupt_ns_ > limits_.repeat_ns))
        return end_at_once(signal);
      if (now_ns - answered_ns_ <= limits_.repeat_ns) return {};
      answered_ns_ = now_ns;
      return {{Action::Kind::say, -1, why + ": the checkpoint is under way" + how_at_once}};
    case Mode::failing:
      kill_sent_ = true;
      return {{Action::Kind::kill, -1, {}}};
    case Mode::killed:
      return {};
  }
  return {};
}

Actions Supervisor::end_at_once(int signal) {
  mode_ = Mode::killed;
  outcome_.signal = signal;
  kill_sent_ = true;
  return {{Action::Kind::abort, -1, {}}, {Action::Kind::kill, -1, {}}};
}

Actions Supervisor::on_tick(std::span<const RankView> views, uint32_t first_failure, int64_t now_ns) {
  const int64_t since_last = now_ns - std::exchange(last_tick_ns_, now_ns);
  const int64_t ran_ns = since_last > limits_.gap_ns ? 0 : since_last;
  if (mode_ == Mode::failing) {
    winding_down_ns_ += std::min(since_last, limits_.gap_ns);
    if (kill_sent_ || winding_down_ns_ < limits_.grace_ns) return {};
    kill_sent_ = true;
    return {{Action::Kind::kill, -1, {}}};
  }
  if (mode_ == Mode::killed) return {};
  if (first_failure != 0 && views[first_failure - 1].reported) {  // it reported, and may take its time to exit
    const RankView& blamed = views[first_failure - 1];
    return fail(int(first_failure) - 1, blamed.error_code, blamed.error_text, views, now_ns);
  }
  Actions actions;
  warn_of_stopped(views, ran_ns, actions);
  if (hangs(views, ran_ns)) {
    const int rank = straggler(views);
    const std::string cause =
        fmt::format("no rank made progress for {} s, the others wait for this one{}", limits_.hang_ns / 1'000'000'000,
                    views[size_t(rank)].stopped ? " (it is stopped)" : "");
    return fail(rank, int(ExitCode::hang), cause, views, now_ns);
  }
  return actions;
}

void Supervisor::warn_of_stopped(std::span<const RankView> views, int64_t ran_ns, Actions& actions) {
  for (size_t r = 0; r < ranks_.size(); ++r) {
    Rank& rank = ranks_[r];
    rank.stopped_for_ns = views[r].stopped && rank.alive ? rank.stopped_for_ns + ran_ns : 0;
    if (rank.stopped_for_ns < limits_.stopped_ns || rank.stop_told) continue;
    rank.stop_told = true;
    actions.push_back(
        {Action::Kind::say, int(r), fmt::format("rank {} is stopped (continue it: kill -CONT its pid)", r)});
  }
}

bool Supervisor::hangs(std::span<const RankView> views, int64_t ran_ns) {
  std::vector<int64_t> pulse;
  for (const RankView& view : views) {
    pulse.push_back(view.heartbeat_ns);
    pulse.push_back(view.step);
    pulse.push_back(view.io_bytes);
    pulse.push_back(int64_t(view.phase) << 32 | uint32_t(view.bucket));
  }
  idle_ns_ = pulse == pulse_ ? idle_ns_ + ran_ns : 0;
  pulse_ = std::move(pulse);
  return idle_ns_ >= limits_.hang_ns;
}

void Supervisor::conclude(int64_t now_ns) {
  if (mode_ == Mode::killed) {
    outcome_.state = RunState::stopped;
    outcome_.exit_code = kSignalBase + outcome_.signal;
  } else if (mode_ == Mode::failing) {
    outcome_.state = RunState::failed;
    outcome_.exit_code = outcome_.failure.exit_code;
    outcome_.failure.stop_ns = now_ns - failed_at_ns_;
  } else {
    const bool stopped = std::any_of(ranks_.begin(), ranks_.end(), [](const Rank& rank) {
      return WEXITSTATUS(rank.wait_status) == int(ExitCode::stopped_early);
    });
    outcome_.state = stopped ? RunState::stopped : RunState::finished;
    outcome_.exit_code = stopped ? int(ExitCode::stopped_early) : 0;
  }
}

}  // namespace ddp
