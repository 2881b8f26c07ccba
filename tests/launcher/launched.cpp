#include "tests/launcher/launched.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "runtime/base/clock.h"

namespace ddp {
namespace {

constexpr int64_t kPatienceMs = 60'000;  // of a busy machine

int64_t ms_now() { return monotonic_ns() / 1'000'000; }

int count(const std::string& text, const std::string& word) {
  int n = 0;
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++n;
  return n;
}

void write_file(const std::string& path, const std::string& text) {
  write_all(create_output(path), std::as_bytes(std::span(text)), path);
}

}  // namespace

Workplace::Workplace() {
  write_file(path("data.txt"), std::string(4096, 'a'));
  write_file(path("train.yaml"),
             "model: {name: gpt2, layers: 1, heads: 1, width: 16, context: 16, vocab: 256}\n"
             "data: {format: bytes, train: data.txt, valid: data.txt}\n"
             "train: {steps: 4, micro_batch: 1, global_batch: 12}\n"
             "output_dir: out\n");
}

std::string Workplace::make_checkpoint(const std::string& name) const {
  std::filesystem::create_directories(path(name));
  const nlohmann::json manifest = {{"files", nlohmann::json::object()}, {"config", read("train.yaml")}};
  write_text_atomically(path(name) + "/manifest.json", manifest.dump());
  return path(name);
}

Launched::Launched(const Workplace& place, const std::vector<std::string>& args, const Options& options) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  int out[2], err[2];
  REQUIRE(::pipe2(out, O_CLOEXEC) == 0);
  REQUIRE(::pipe2(err, O_CLOEXEC) == 0);
  std::vector<std::string> words = {DDP_LAUNCH_PATH};
  words.insert(words.end(), args.begin(), args.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_ = ::fork();
  REQUIRE(pid_ >= 0);
  if (pid_ == 0) {
    ::dup2(out[1], 1);
    ::dup2(err[1], 2);
    // Whatever the tests themselves run under: nohup, a script's background, a terminal.
    for (int signal = 1; signal < NSIG; ++signal)
      ::signal(signal, signal == options.ignored_signal ? SIG_IGN : SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    if (options.inherited >= 0) ::dup2(options.inherited, kInherited);
    ::close_range(STDERR_FILENO + 1, kInherited - 1, 0);  // what the tests' own parent may have left open
    ::setenv("DDP_RANK", options.rank_program.empty() ? FAKE_RANK_PATH : options.rank_program.c_str(), 1);
    ::setenv("FAKE_RANK", options.script.c_str(), 1);
    if (::chdir(place.path("").c_str()) == 0) ::execv(argv[0], argv.data());
    ::_exit(99);
  }
  out_ = Fd(out[0]), err_ = Fd(err[0]);
  ::close(out[1]);
  ::close(err[1]);
}

Launched::~Launched() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
}

void Launched::signal(int signal) const { ::kill(pid_, signal); }

void Launched::signal_and_wait(int signal) const {
  Launched::signal(signal);
  const auto is_pending = [&] {
    std::ifstream file("/proc/" + std::to_string(pid_) + "/status");
    for (std::string name, value; file >> name >> value;)
      if (name == "ShdPnd:") return (std::stoull(value, nullptr, 16) >> (signal - 1) & 1) != 0;
    return false;
  };
  for (const int64_t deadline = ms_now() + kPatienceMs; is_pending();) {
    REQUIRE(ms_now() < deadline);
    ::poll(nullptr, 0, 1);
  }
}

bool Launched::has_ended() const {
  siginfo_t info = {};
  return ::waitid(P_PID, id_t(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
}

std::vector<pid_t> Launched::ranks() const {
  const std::string id = std::to_string(pid_);
  std::ifstream children("/proc/" + id + "/task/" + id + "/children");
  return {std::istream_iterator<pid_t>(children), {}};
}

void Launched::signal_all(int signal) const {
  for (const pid_t rank : ranks()) ::kill(rank, signal);
  ::kill(pid_, signal);
}

bool Launched::becomes(char state, pid_t pid) {
  for (const int64_t deadline = ms_now() + kPatienceMs; ms_now() < deadline; ::poll(nullptr, 0, 1)) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    const std::string stat{std::istreambuf_iterator<char>(file), {}};
    if (stat.empty()) return false;
    if (stat[stat.rfind(')') + 2] == state) return true;
  }
  return false;
}

bool Launched::take_output(int timeout_ms) {
  pollfd fds[2] = {{out_.get(), POLLIN, 0}, {err_.get(), POLLIN, 0}};
  if (::poll(fds, 2, timeout_ms) <= 0) return false;
  bool more = false;
  for (int i = 0; i < 2; ++i) {
    if ((fds[i].revents & (POLLIN | POLLHUP)) == 0) continue;
    char buffer[4096];
    const ssize_t n = ::read(fds[i].fd, buffer, sizeof buffer);
    if (n > 0) (i == 0 ? out_text_ : err_text_).append(buffer, size_t(n));
    if (n == 0) (i == 0 ? out_ : err_).reset();
    more |= n > 0;
  }
  return more || out_ || err_;
}

bool Launched::prints(const std::string& text, int times) {
  for (const int64_t deadline = ms_now() + kPatienceMs; ms_now() < deadline && (out_ || err_);) {
    if (count(out_text_ + err_text_, text) >= times) return true;
    take_output(100);
  }
  return count(out_text_ + err_text_, text) >= times;
}

int Launched::end() {
  for (const int64_t deadline = ms_now() + kPatienceMs; ms_now() < deadline && (out_ || err_);) take_output(100);
  if (out_ || err_) FAIL("ddp-launch did not end; stdout: " << out_text_ << " stderr: " << err_text_);
  int status = 0;
  REQUIRE(::waitpid(pid_, &status, 0) == pid_);
  pid_ = -1;
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

bool Launched::nothing_left() {
  for (const int64_t deadline = ms_now() + kPatienceMs; ms_now() < deadline;) {
    const pid_t pid = ::waitpid(-1, nullptr, WNOHANG);
    if (pid < 0 && errno == ECHILD) return true;
    if (pid == 0) ::poll(nullptr, 0, 1);
  }
  return false;
}

std::string Launched::last_error_line() const {
  if (err_text_.empty() || err_text_.back() != '\n') return err_text_;
  const size_t before = err_text_.rfind('\n', err_text_.size() - 2);
  const size_t start = before == std::string::npos ? 0 : before + 1;
  return err_text_.substr(start, err_text_.size() - 1 - start);
}

}  // namespace ddp
