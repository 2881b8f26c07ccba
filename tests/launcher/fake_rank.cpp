// A rank without a model: it attaches to the board, meets the others, and then behaves as FAKE_RANK tells it. The
// variable is a list of "RANK:WORD" (RANK may be *), carried out in order by the ranks they name; a rank without a word
// finishes well.
//   early=N     exit with N before meeting          exit=N      exit with N
//   signal=N    die of signal N                     error=N     report an error with code N on the board, then exit N
//   linger      report an error, then never exit    loop        make no progress and look at nothing
//   train       make progress until told to stop    checkpoint  wait for a checkpoint request, then go on
//   absent      never meet the others
//   step=N      be in step N                        child       leave a child process behind
//   phase=NAME  be in that phase                    signals     print which signals it ignores and blocks
//   say=TEXT    print TEXT                          env=NAME    print NAME=value
//   fds         print the number of open descriptors
//   read        read a file until the launcher has renewed the deadlines a few times
//   commit=N    leave a checkpoint of step N in out/
#include <dirent.h>
#include <fmt/format.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/error.h"
#include "runtime/base/rank_env.h"
#include "runtime/board/board.h"

namespace {

using namespace ddp;

std::vector<std::string> words_for(int rank) {
  std::vector<std::string> words;
  const char* script = ::getenv("FAKE_RANK");
  std::string text = script == nullptr ? "" : script;
  for (size_t at = 0; at < text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    const std::string entry = text.substr(at, comma - at);
    const size_t colon = entry.find(':');
    const std::string who = entry.substr(0, colon);
    if (who == "*" || who == std::to_string(rank)) words.push_back(entry.substr(colon + 1));
    at = comma + 1;
  }
  return words;
}

[[noreturn]] void loop_forever() {
  for (;;) ::pause();
}

// Progress that never ends, as a training loop's; leaves when it is told to.
[[noreturn]] void train_forever(const RankEnv& env, Board& board) {
  RankStatus& status = board->ranks[size_t(env.rank)];
  FutexWord nothing{0};
  status.phase.store(uint32_t(Phase::forward));
  for (;;) {
    status.heartbeat_ns.store(monotonic_ns());
    try {
      wait_while_equal(nothing, 0, {&board->abort_word, 10, 0}, "a test");
    } catch (const Aborted&) {
      ::_exit(int(ExitCode::rendezvous));
    } catch (const Error&) {  // 10 ms are over
    }
    if (board->stop_requested.load() != 0) ::_exit(int(ExitCode::stopped_early));
  }
}

// Reads a file, which is all the progress it makes, until the launcher has renewed the deadlines a few times.
void read_until_renewed(Board& board, RankStatus& status) {
  constexpr uint32_t kTimes = 5;  // more than what a rank's start and phase can cause
  status.phase.store(uint32_t(Phase::load));
  const uint32_t before = board->progress.load();
  while (board->progress.load() - before < kTimes) read_text("/proc/self/exe");
}

void print_descriptors() {
  std::set<int> fds;
  DIR* folder = ::opendir("/proc/self/fd");
  while (const dirent* entry = ::readdir(folder))
    if (entry->d_name[0] != '.') fds.insert(::atoi(entry->d_name));
  fds.erase(::dirfd(folder));
  ::closedir(folder);
  fmt::print("{} descriptors\n", fds.size());
}

Phase phase_named(const std::string& name) {
  auto phase = Phase::not_started;
  while (phase_name(phase) != name && phase != Phase::finished) phase = Phase(uint32_t(phase) + 1);
  return phase;
}

// As the kernel has them: masks of bits, signal N at bit N-1.
void print_signals() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("SigIgn") || line.starts_with("SigBlk") || line.starts_with("SigCgt"))
      fmt::print("{}\n", line);
}

void carry_out(const std::string& word, const RankEnv& env, Board& board) {
  const size_t equals = word.find('=');
  const std::string verb = word.substr(0, equals), value = equals == std::string::npos ? "" : word.substr(equals + 1);
  RankStatus& status = board->ranks[size_t(env.rank)];
  if (verb == "exit") ::_exit(std::stoi(value));
  if (verb == "signal") ::raise(std::stoi(value));
  if (verb == "error") {
    status.phase.store(uint32_t(Phase::backward));
    status.bucket.store(4);
    board.report_error(env.rank, std::stoi(value), "it broke");
    ::_exit(std::stoi(value));
  }
  if (verb == "linger") {
    board.report_error(env.rank, int(ExitCode::io), "it lingers");
    loop_forever();
  }
  if (verb == "phase") status.phase.store(uint32_t(phase_named(value)));
  if (verb == "signals") print_signals();
  if (verb == "step") status.step.store(std::stoll(value));
  if (verb == "read") read_until_renewed(board, status);
  if (verb == "commit") {
    const std::string folder = fmt::format("out/checkpoints/step-{:08}", std::stoi(value));
    std::filesystem::create_directories(folder);
    const nlohmann::json manifest = {{"files", nlohmann::json::object()}, {"config", board.config()}};
    write_text_atomically(folder + "/manifest.json", manifest.dump());
  }
  if (verb == "say") fmt::print("{}\n", value);
  if (verb == "env") fmt::print("{}={}\n", value, ::getenv(value.c_str()));
  if (verb == "fds") print_descriptors();
  if (verb == "child" && ::fork() == 0) loop_forever();
  if (verb == "checkpoint")
    while (board->checkpoint_requests.load() == 0) ::usleep(1000);
  ::fflush(stdout);
  if (verb == "train") train_forever(env, board);
  if (verb == "loop") loop_forever();
}

}  // namespace

int main() {
  const int64_t entered_ns = monotonic_ns();
  try {
    const RankEnv env = read_rank_env();
    Board board = Board::attach(Fd(env.board_fd));
    RankStatus& status = board->ranks[size_t(env.rank)];
    status.entered_ns.store(entered_ns);
    const std::vector<std::string> words = words_for(env.rank);
    for (const std::string& word : words)
      if (word.starts_with("early=")) ::_exit(std::stoi(word.substr(6)));
    for (const std::string& word : words)
      if (word == "absent") {
        fmt::print("absent\n");
        ::fflush(stdout);
        loop_forever();
      }
    const WaitPolicy policy{&board->abort_word, 60'000, board->oversubscribed != 0 ? 0 : 200};
    board->barrier.arrive_and_wait(uint32_t(env.world_size), policy, "rendezvous");
    status.met_ns.store(monotonic_ns());
    for (const std::string& word : words) carry_out(word, env, board);
    status.phase.store(uint32_t(Phase::finished));
    return 0;
  } catch (const Aborted&) {
    return int(ExitCode::rendezvous);
  } catch (const Error& e) {
    fmt::print("{}\n", e.what());
    return int(e.code());
  }
}
