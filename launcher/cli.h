// The command line as a value: argv in, Command out, nothing else touched, so that every rule of it is tested without a
// process. CLI11 stays in cli.cpp (6.5 s a translation unit).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ddp {

enum class Verb {
  run,
  plan,
  sample,
  evaluate,
  bench_launch,
  explain,
  version,
  show,  // print `text` and leave: --help
};

// What `run`, `plan` and `eval` have in common.
struct TrainOptions {
  std::string config_file;             // of eval also a run's folder, or a checkpoint's
  std::vector<std::string> overrides;  // "key.path=value"
  std::string output_dir;              // empty: the configuration's
  std::string device = "auto";         // auto | cpu | cuda
  std::vector<int> gpus;               // empty: not given
  bool all_gpus = false;               // --gpus all: those that are visible
  int nproc = 0;                       // 0: not given
  std::string resume = "none";         // auto | none | PATH, as it was typed (runtime/config/path_text.h)
  std::vector<std::string> accepted;   // keys that a resume may change on purpose, by --accept-change
  int64_t stop_after = 0;              // 0: never
  bool plain = false;                  // no line is redrawn on a terminal
  int stop_when_closed = -1;           // a descriptor that the command inherits; -1: not given
  int announce = -1;                   // likewise
};

struct PlanOptions {
  bool json = false;
  int64_t memory_bytes = 0;  // 0: not given
};

struct SampleOptions {
  std::string run, prompt;
  int64_t tokens = 200;
  double temperature = 0.8;  // 0: always the likeliest token
  int64_t top_k = 0;         // 0: all
  int64_t seed = 1;
};

struct EvaluationOptions {
  bool json = false;
};

struct VersionOptions {
  bool json = false;
};

struct BenchOptions {
  int nproc = 4, repeat = 21;
  bool json = false;
};

struct Command {
  Verb verb = Verb::run;
  TrainOptions train;
  PlanOptions plan;
  SampleOptions sample;
  EvaluationOptions eval;
  BenchOptions bench;
  VersionOptions version;
  std::string explain_key;  // empty: all keys
  std::string text;         // of Verb::show
};

// `args` without the program's name. A first argument that names no subcommand means `run`. Errors: usage (64).
Command parse_command_line(std::span<const std::string> args);

// "11GiB", "500 MB", "4096" as bytes. Errors: usage (64).
int64_t parse_bytes(std::string_view text);

// The same command with another --resume (auto, none, a path; empty: without one), without --stop-after and without
// what meant the program that started it, quoted for a shell. It is for the same working directory. `args` without the
// program's name.
std::string command_with_resume(std::string_view program, std::span<const std::string> args, std::string_view resume);

// The same command where it accepts a change of `keys` ("a,b"), instead of those that it names, and nothing else is
// new.
std::string command_with_accepted(std::string_view program, std::span<const std::string> args, std::string_view keys);

}  // namespace ddp
