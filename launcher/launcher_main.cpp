// ddp-launch: see README.md beside this file. It links no compute library, so that it starts in milliseconds.
#include "launcher/launcher_main.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "launcher/bench_launch.h"
#include "launcher/cli.h"
#include "launcher/defaults.h"
#include "launcher/devices.h"
#include "launcher/eval_run.h"
#include "launcher/one_task.h"
#include "launcher/rank_program.h"
#include "launcher/run.h"
#include "launcher/signals.h"
#include "launcher/spawn.h"
#include "launcher/version.h"
#include "runtime/base/caught.h"
#include "runtime/base/clock.h"
#include "runtime/base/error.h"
#include "runtime/base/output.h"
#include "runtime/base/text_check.h"
#include "runtime/config/config.h"

namespace ddp {
namespace {

// Descriptors 0-2 exist from here on, so that none of ours becomes one of them and ends up as a rank's output.
void occupy_standard_descriptors() {
  while (true) {
    const int fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd < 0 || fd > STDERR_FILENO) {
      if (fd >= 0) ::close(fd);
      return;
    }
  }
}

// Models live in ddp-rank, so it does the planning: it gets the resolved configuration on its standard input.
[[noreturn]] void plan(const Command& command, const ConfigRegistry& registry, const Signals& signals) {
  const Placement placement = place_plan(command.train, probe_host(command.train));
  if (!placement.note.empty()) fmt::print(stderr, "ddp-launch: {}\n", placement.note);
  const Config config =
      resolve_config(command.train, placement, registry, defaults_beside_weights(command.train, registry));
  if (placement.device == "cpu") check_precision(config.train.precision, placement, {});  // GPUs may be elsewhere
  std::vector<std::string> args = {"plan", "--ranks", std::to_string(placement.ranks()), "--device", placement.device};
  if (command.plan.memory_bytes > 0) args.insert(args.end(), {"--memory", std::to_string(command.plan.memory_bytes)});
  if (command.plan.json) args.insert(args.end(), {"--format", "json"});
  signals.restore();
  exec_program(find_rank_program(), args, text_as_input(to_yaml(config)));
}

[[noreturn]] void sample(const SampleOptions& options, const Signals& signals) {
  if (::access((options.run + "/config.yaml").c_str(), R_OK) != 0)
    throw Error(ExitCode::no_input, options.run + " holds no run (no config.yaml in it)", "name a run's output_dir");
  signals.restore();
  exec_program(find_rank_program(),
               {"sample", "--run", options.run, "--prompt", options.prompt, "--tokens", std::to_string(options.tokens),
                "--temperature", fmt::format("{}", options.temperature), "--top-k", std::to_string(options.top_k),
                "--seed", std::to_string(options.seed)},
               Fd());
}

int end_as(const Outcome& outcome) {
  if (outcome.signal != 0) die_of(outcome.signal);
  return outcome.exit_code;
}

int run(int argc, char** argv, const ConfigRegistry& registry, int64_t launched_ns) {
  const Signals signals;
  const std::vector<std::string> args(argv + 1, argv + argc);
  const Command command = parse_command_line(args);
  check_own_environment();
  switch (command.verb) {
    case Verb::run: {
      check_is_only_task();
      const CommandAgain again{
          .with_resume = [&](std::string_view resume) { return command_with_resume(argv[0], args, resume); },
          .with_accepted = [&](std::string_view keys) { return command_with_accepted(argv[0], args, keys); }};
      return end_as(run_training(command.train, registry, again, launched_ns, signals));
    }
    case Verb::evaluate:
      check_is_only_task();
      return end_as(run_evaluation(command, registry, launched_ns, signals));
    case Verb::plan:
      plan(command, registry, signals);
    case Verb::sample:
      sample(command.sample, signals);
    case Verb::bench_launch:
      bench_launch(command.bench, launched_ns, signals);
      return 0;
    case Verb::explain:
      write_output([&] { fmt::print("{}", explain(command.explain_key, registry)); });
      return 0;
    case Verb::version:
      write_output([&] { fmt::print("{}\n", command.version.json ? version_json() : version_line()); });
      return 0;
    case Verb::show:
      write_output([&] { fmt::print("{}", command.text); });
      return 0;
  }
  return int(ExitCode::internal);
}

}  // namespace

int launcher_main(int argc, char** argv, const ConfigRegistry& registry) {
  const int64_t launched_ns = monotonic_ns();
  occupy_standard_descriptors();
  try {
    return run(argc, argv, registry, launched_ns);
  } catch (...) {
    return tell_caught();
  }
}

}  // namespace ddp
