#include "launcher/report.h"

#include <fmt/format.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/base/clock.h"
#include "runtime/base/error.h"

namespace ddp {
namespace {

constexpr int64_t kUpdateNs = 1'000'000'000;

std::string utc_now() { return utc_text("%Y-%m-%dT%H:%M:%SZ"); }

std::string with_advice(std::string sentence, const std::string& advice) {
  return advice.empty() ? sentence : sentence + "; " + advice;
}

nlohmann::json failure_json(const Failure& failure, const Placement& placement) {
  return {{"rank", failure.rank},
          {"device", placement.label(failure.rank)},
          {"step", failure.where.step},
          {"phase", phase_name(failure.where.phase)},
          {"bucket", failure.where.bucket},
          {"cause", failure.cause},
          {"also", failure.also},
          {"victims", failure.victims},
          {"stopped_in_s", double(failure.stop_ns) * 1e-9}};
}

}  // namespace

bool is_worth_repeating(int exit_code) {
  constexpr std::array kFinal = {ExitCode::usage,      ExitCode::data,   ExitCode::no_input,  ExitCode::cannot_create,
                                 ExitCode::permission, ExitCode::config, ExitCode::non_finite};
  return std::find(kFinal.begin(), kFinal.end(), ExitCode(exit_code)) == kFinal.end();
}

std::string failure_sentence(const Failure& failure, const Placement& placement, const std::string& advice) {
  const RankView& where = failure.where;
  std::string text = fmt::format("FAILED rank {} ({}) step {} {}", failure.rank, placement.label(failure.rank),
                                 where.step, phase_name(where.phase));
  if (where.phase == Phase::backward && where.bucket >= 0) text += fmt::format(", bucket {}", where.bucket);
  text += ": " + failure.cause;
  if (!failure.also.empty()) text += fmt::format("; also {}", fmt::join(failure.also, ", "));
  if (!failure.victims.empty())
    text += fmt::format("; rank{} {} stopped in {:.1f} s", failure.victims.size() == 1 ? "" : "s",
                        fmt::join(failure.victims, ","), double(failure.stop_ns) * 1e-9);
  return with_advice(text, advice);
}

std::string final_sentence(const Outcome& outcome, int64_t step, const Placement& placement,
                           const std::string& advice) {
  switch (outcome.state) {
    case RunState::failed:
      return failure_sentence(outcome.failure, placement, advice);
    case RunState::stopped:
      if (outcome.signal != 0)
        return with_advice(fmt::format("STOPPED at once by SIG{} in step {}, without a checkpoint",
                                       ::sigabbrev_np(outcome.signal), step),
                           advice);
      return with_advice(fmt::format("STOPPED after step {}, checkpoint written", step), advice);
    case RunState::running:
    case RunState::finished:
      return {};
  }
  return {};
}

StatusFile::StatusFile(const std::filesystem::path& folder, const Placement& placement, Console& console)
    : path_(folder / "status.json"), placement_(placement), console_(console), started_(utc_now()) {
  if (::access(path_.c_str(), R_OK) == 0) before_ = read_text(path_);
}

void StatusFile::update(int64_t step, int64_t now_ns) {
  if (written_ns_ != 0 && now_ns - written_ns_ < kUpdateNs) return;
  written_ns_ = now_ns;
  const nlohmann::json status = {{"state", run_state_name(RunState::running)},
                                 {"step", step},
                                 {"ranks", placement_.ranks()},
                                 {"pid", ::getpid()},
                                 {"started", started_},
                                 {"exit_code", nullptr},
                                 {"error", nullptr}};
  try {
    write_text_atomically(path_, status.dump() + "\n", false);
  } catch (const Error& e) {
    if (!std::exchange(told_, true)) warn(e, "it is tried again");
  }
}

void StatusFile::conclude(const Outcome& outcome, int64_t step, const std::string& sentence) {
  nlohmann::json status = {{"state", run_state_name(outcome.state)},
                           {"step", step},
                           {"ranks", placement_.ranks()},
                           {"pid", ::getpid()},
                           {"started", started_},
                           {"ended", utc_now()},
                           {"exit_code", outcome.exit_code},
                           {"error", nullptr}};
  if (!sentence.empty()) status["error"] = sentence;
  if (outcome.state == RunState::failed) status["failure"] = failure_json(outcome.failure, placement_);
  const std::string text = status.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  try {
    write_text_atomically(path_, text, true);
  } catch (const Error&) {
    // The old one says that the run goes on: better none than that, and its room may be what the new one needs.
    ::unlink(path_.c_str());
    try {
      write_text_atomically(path_, text, true);
    } catch (const Error& e) {
      warn(e, "the run leaves none");
    }
  }
}

void StatusFile::undo() {
  try {
    if (before_)
      write_text_atomically(path_, *before_, true);
    else
      ::unlink(path_.c_str());
  } catch (const Error& e) {
    ::unlink(path_.c_str());  // rather none than one that says that the run goes on
    warn(e, "the run leaves none");
  }
}

void StatusFile::warn(const Error& why, const char* consequence) {
  console_.message(fmt::format("ddp-launch: warning: {}; {}", why.what(), consequence));
}

}  // namespace ddp
