#include "launcher/cli.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "runtime/base/error.h"
#include "runtime/base/number.h"
#include "runtime/base/shell_word.h"
#include "runtime/base/text_check.h"
#include "runtime/board/board.h"
#include "runtime/config/nearest.h"
#include "runtime/config/path_text.h"

namespace ddp {
namespace {

constexpr const char* kRunFooter = R"(
Other commands (each has --help):
  ddp-launch plan train.yaml        memory, FLOPs and the largest micro-batch, without training
  ddp-launch eval RUN               the loss of a run's newest checkpoint on held-out data
  ddp-launch sample RUN             text from a trained model
  ddp-launch bench launch           how long a launch takes

Examples:
  ddp-launch --nproc 4 --device cpu configs/gpt2-tiny.yaml
  ddp-launch --gpus 0,1,2,3 --set train.steps=2000 --output-dir runs/a train.yaml
  ddp-launch --resume auto train.yaml      go on from the newest checkpoint

Signals: Ctrl-C, SIGTERM or SIGHUP finishes the step, writes a checkpoint and exits 75; Ctrl-C again after 2 s, or a third
time, stops at once. SIGUSR1 writes a checkpoint and goes on. Ctrl-Z suspends all ranks too, fg continues them.
Exit codes: 0 done, 64 command line, 66 input missing, 73 output folder, 75 stopped but resumable, 78 configuration,
124 hang, 128+N a rank died of signal N.)";

// CLI11's own ranges print bounds of 300 digits, and its integers wrap around.
CLI::Validator whole_number(int64_t least, int64_t most = std::numeric_limits<int64_t>::max()) {
  return CLI::Validator(
      [least, most](const std::string& text) -> std::string {
        const std::optional<int64_t> value = parse_number<int64_t>(text);
        if (value && *value >= least && *value <= most) return {};
        const bool bounded = most < std::numeric_limits<int64_t>::max();
        return fmt::format("'{}' is not a whole number of {} or more{}", text, least,
                           bounded ? fmt::format(", at most {}", most) : "");
      },
      "");
}

std::string check_temperature(const std::string& text) {
  const std::optional<double> value = parse_number<double>(text);
  return value && *value >= 0.0 && std::isfinite(*value) ? "" : "'" + text + "' is not a number of 0 or more";
}

std::string check_not_empty(const std::string& text) { return text.empty() ? "the name is empty" : ""; }

// A vector option that took every word after it would swallow train.yaml: one word each time it is given.
void one_word_each(CLI::Option* option) { option->allow_extra_args(false); }

std::string_view without_spaces_around(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

// "0,1", "0-3", "0,2-3" or "all": adds to what --gpus has named.
void add_gpus(std::string_view list, TrainOptions& train) {
  const auto number = [](std::string_view text) {
    const std::optional<int> gpu = parse_number<int>(without_spaces_around(text));
    return gpu && *gpu >= 0 ? gpu : std::nullopt;
  };
  if (without_spaces_around(list) == "all") {
    train.all_gpus = true;
    return;
  }
  for (bool is_last = false; !is_last;) {
    const size_t comma = list.find(',');
    const std::string_view piece = list.substr(0, comma);
    const size_t dash = piece.find('-');
    const std::optional<int> first = number(piece.substr(0, dash));
    const std::optional<int> last = dash == std::string_view::npos ? first : number(piece.substr(dash + 1));
    if (!first || !last || *last < *first || *last - *first >= kMaxRanks)
      throw Error(ExitCode::usage, fmt::format("--gpus: '{}' names no GPU", piece),
                  "write numbers as 0,1,2 or 0-2, or all");
    for (int gpu = *first; gpu <= *last; ++gpu) train.gpus.push_back(gpu);
    is_last = comma == std::string_view::npos;
    list.remove_prefix(is_last ? 0 : comma + 1);
  }
}

// On what, and with which changes.
void add_common_options(CLI::App& app, TrainOptions& train) {
  const auto take_gpus = [&train](const std::vector<std::string>& lists) {
    for (const std::string& list : lists) add_gpus(list, train);
    return true;
  };
  CLI::Option* gpus =
      app.add_option("--gpus", take_gpus, "One rank on each of these GPUs")->option_text("0,1,...|0-3|all");
  one_word_each(gpus->expected(1)->type_name("LIST")->multi_option_policy(CLI::MultiOptionPolicy::TakeAll));
  app.add_option("--nproc", train.nproc, "Number of ranks (default 1)")
      ->check(whole_number(1, kMaxRanks))
      ->option_text("N")
      ->excludes(gpus);
  app.add_option("--device", train.device, "cpu, cuda or auto: GPUs where there are some (default auto)")
      ->check(CLI::IsMember({"cpu", "cuda", "auto"}))
      ->option_text("NAME");
  one_word_each(app.add_option("--set", train.overrides, "Override a key of the YAML; may be repeated")
                    ->option_text("key.path=value"));
}

// Of a program that starts this one and shares descriptors with it (launcher/starter.h).
void add_descriptor(CLI::App& app, const char* name, int& descriptor, const char* what) {
  app.add_option(name, descriptor, what)->check(whole_number(0, std::numeric_limits<int>::max()))->option_text("FD");
}

void add_stop_when_closed(CLI::App& app, TrainOptions& train) {
  add_descriptor(app, "--stop-when-closed", train.stop_when_closed,
                 "Stop as on SIGTERM when the other end of this inherited descriptor is closed, as by the end of the "
                 "program that holds it");
}

void add_train_options(CLI::App& app, TrainOptions& train) {
  app.add_option("config", train.config_file, "The configuration of the run (YAML)")->option_text("train.yaml");
  add_common_options(app, train);
  app.add_option("--output-dir", train.output_dir, "The run's folder, instead of output_dir")
      ->check(check_not_empty)
      ->option_text("DIR");
}

void check_placement(const TrainOptions& train) {
  if (train.gpus.size() > size_t(kMaxRanks))
    throw Error(ExitCode::usage, fmt::format("--gpus names more than {} GPUs", kMaxRanks));
  if (train.all_gpus && !train.gpus.empty())
    throw Error(ExitCode::usage, "--gpus names all GPUs, and some again", "leave one of them out");
  if ((train.all_gpus || !train.gpus.empty()) && train.device == "cpu")
    throw Error(ExitCode::usage, "--gpus and --device cpu exclude each other",
                fmt::format("leave one out, or use --nproc {} --device cpu", std::max<size_t>(train.gpus.size(), 1)));
}

void check_train_options(const TrainOptions& train) {
  if (train.config_file.empty()) throw Error(ExitCode::usage, "no train.yaml given", "see ddp-launch --help");
  check_placement(train);
}

// A word without a dot or a slash is no file's name: a command that there is not, rather.
std::string nearest_command(std::string_view word) {
  struct Verb {
    std::string_view name, usage;
  };
  constexpr std::array<Verb, 8> kVerbs = {{{"run", "run train.yaml"},
                                           {"train", "train.yaml"},
                                           {"plan", "plan train.yaml"},
                                           {"eval", "eval RUN"},
                                           {"evaluate", "eval RUN"},
                                           {"sample", "sample RUN --prompt TEXT"},
                                           {"bench", "bench launch"},
                                           {"help", "--help"}}};
  const auto* const nearest = std::min_element(kVerbs.begin(), kVerbs.end(), [word](const Verb& a, const Verb& b) {
    return edit_distance(word, a.name) < edit_distance(word, b.name);
  });
  return fmt::format("did you mean ddp-launch {}?", nearest->usage);
}

[[noreturn]] void fail_of_words_left(const CLI::App& app) {
  const std::vector<std::string> left = app.remaining();
  const std::string see = "see " + app.get_name() + " --help";
  const CLI::Option* config = app.get_option_no_throw("config");
  const std::string first = config == nullptr || config->count() == 0 ? "" : config->as<std::string>();
  if (!first.empty() && first.find_first_not_of("0123456789") == std::string::npos)
    throw Error(ExitCode::usage, "'" + first + "' is no configuration", "write a list of GPUs as --gpus 0,1");
  if (const CLI::Option* set = app.get_option_no_throw("--set"); set != nullptr && set->count() > 0)
    for (const std::string& text : set->as<std::vector<std::string>>())
      if (text.find('=') == text.npos)
        throw Error(ExitCode::usage, "--set " + text + " has no value", "write --set " + text + "=VALUE, in one word");
  if (left.front().starts_with('-')) throw Error(ExitCode::usage, "unknown option '" + left.front() + "'", see);
  if (app.get_name() == "ddp-launch" && !first.empty() && first.find_first_of("./") == std::string::npos)
    throw Error(ExitCode::usage, "unknown command '" + first + "'", nearest_command(first));
  throw Error(ExitCode::usage,
              fmt::format("'{}' is one word too many{}", left.front(),
                          first.empty() ? "" : ", behind the configuration '" + first + "'"),
              see);
}

// Parses and turns CLI11's own errors and exit codes into ours. True when `command` became a text to show.
bool parse(CLI::App& app, std::span<const std::string> args, Command& command) {
  std::vector<std::string> reversed(args.rbegin(), args.rend());  // what CLI11 wants
  try {
    app.parse(std::move(reversed));
    return false;
  } catch (const CLI::CallForHelp&) {
    command.text = app.help();
  } catch (const CLI::ExtrasError&) {
    fail_of_words_left(app);
  } catch (const CLI::ParseError& e) {
    throw Error(ExitCode::usage, e.what(), "see " + app.get_name() + " --help");
  }
  command.verb = Verb::show;
  return true;
}

Command parse_run(std::span<const std::string> args) {
  Command command;
  CLI::App app("Trains a model data-parallel: one process (rank) for each GPU, or as many as you ask for on the CPU.",
               "ddp-launch");
  add_train_options(app, command.train);
  app.add_option("--resume", command.train.resume,
                 "none: a folder that holds a run is refused (default); auto: its newest good checkpoint; or a "
                 "checkpoint, or a run's folder for its newest")
      ->option_text("auto|none|PATH");
  CLI::Option* accepted =
      app.add_option("--accept-change", command.train.accepted,
                     "Keys that the run goes on with as they are now, where it had another value; may be repeated");
  accepted->delimiter(',')->check(check_not_empty)->option_text("key.path,...");
  one_word_each(accepted);
  app.add_option("--stop-after", command.train.stop_after, "Write a checkpoint and exit 75 after step N")
      ->check(whole_number(1))
      ->option_text("N");
  app.add_flag("--plain", command.train.plain,
               "Print to a terminal as to a file: no line is redrawn, none is shortened");
  add_stop_when_closed(app, command.train);
  add_descriptor(app, "--announce", command.train.announce,
                 "Once the run begins, write a line of JSON to this inherited descriptor: the run's folder, and where "
                 "in its metrics.jsonl the lines of this start begin");
  CLI::Option* explain = app.add_option("--explain", command.explain_key, "Explain a key of the YAML, or all of them");
  explain->expected(0, 1)->option_text("[key]");
  bool version = false;
  CLI::Option* shows_version = app.add_flag("--version", version, "Print version and commit");
  app.add_flag("--json", command.version.json,
               "With --version: print as JSON what this build is and what it finds on this machine")
      ->needs(shows_version);
  app.footer(kRunFooter);
  if (parse(app, args, command)) return command;
  if (version) {
    command.verb = Verb::version;
    return command;
  }
  if (explain->count() > 0) {
    command.verb = Verb::explain;
    return command;
  }
  check_train_options(command.train);
  if (command.train.resume.empty()) throw Error(ExitCode::usage, "--resume is empty", "use auto, none or a checkpoint");
  if (!command.train.accepted.empty() && command.train.resume == "none")
    throw Error(ExitCode::usage, "--accept-change is for a run that goes on", "add --resume auto, or leave it out");
  return command;
}

Command parse_plan(std::span<const std::string> args) {
  Command command;
  command.verb = Verb::plan;
  std::string memory;
  CLI::App app("Plans a run without starting it: memory by category, FLOPs, the largest micro-batch that fits.",
               "ddp-launch plan");
  add_train_options(app, command.train);
  app.add_flag("--json", command.plan.json, "Print JSON");
  app.add_option("--memory", memory, "A device's memory: say what fits")->option_text("11GiB");
  app.footer("\nExample:\n  ddp-launch plan --nproc 4 --memory 11GiB configs/gpt2-tiny.yaml");
  if (parse(app, args, command)) return command;
  check_train_options(command.train);
  if (!memory.empty()) command.plan.memory_bytes = parse_bytes(memory);
  return command;
}

Command parse_sample(std::span<const std::string> args) {
  Command command;
  command.verb = Verb::sample;
  SampleOptions& sample = command.sample;
  CLI::App app("Prints text that the model of a run's newest checkpoint makes of a prompt.", "ddp-launch sample");
  app.add_option("RUN", sample.run, "The run's folder")->required()->option_text("RUN");
  app.add_option("--prompt", sample.prompt, "The text to go on from")->required()->option_text("TEXT");
  app.add_option("--tokens", sample.tokens, "Number of tokens to make (default 200)")
      ->check(whole_number(1))
      ->option_text("N");
  app.add_option("--temperature", sample.temperature, "0: the likeliest token; 1: as the model says (default 0.8)")
      ->check(check_temperature)
      ->option_text("X");
  app.add_option("--top-k", sample.top_k, "Draw among the K likeliest tokens only (default 0: all)")
      ->check(whole_number(0))
      ->option_text("K");
  app.add_option("--seed", sample.seed, "Of the draws (default 1)")->check(whole_number(0))->option_text("S");
  app.footer("\nExample:\n  ddp-launch sample runs/gpt2-tiny --prompt \"In the beginning\" --tokens 200");
  parse(app, args, command);
  return command;
}

Command parse_eval(std::span<const std::string> args) {
  Command command;
  command.verb = Verb::evaluate;
  CLI::App app(
      "Evaluates a model on data.valid and ends: that of a run's newest checkpoint, of a checkpoint's folder, or the "
      "weights that model.init_from of a train.yaml names. It changes nothing in the run's folder.",
      "ddp-launch eval");
  app.add_option("RUN", command.train.config_file, "A run's folder, a checkpoint's folder, or a train.yaml")
      ->required()
      ->check(check_not_empty)
      ->option_text("RUN|train.yaml");
  add_common_options(app, command.train);
  app.add_flag("--json", command.eval.json, "Print JSON");
  add_stop_when_closed(app, command.train);
  app.footer(
      "\nExamples:\n  ddp-launch eval --gpus 0,1 runs/gpt2-tiny\n"
      "  ddp-launch eval --set data.valid=test.txt runs/gpt2-tiny/checkpoints/best");
  if (parse(app, args, command)) return command;
  check_placement(command.train);
  return command;
}

Command parse_bench(std::span<const std::string> args) {
  Command command;
  command.verb = Verb::bench_launch;
  CLI::App app("Measures the launcher: start ranks, let them meet at a barrier, and leave.", "ddp-launch bench");
  CLI::App* launch = app.add_subcommand("launch", "From the command to all ranks past their first barrier");
  app.require_subcommand(1);
  launch->add_option("--nproc", command.bench.nproc, "Number of ranks (default 4)")
      ->check(whole_number(1, kMaxRanks))
      ->option_text("N");
  launch->add_option("--repeat", command.bench.repeat, "Launches, of which the median is shown (default 21)")
      ->check(whole_number(1, 100'000))
      ->option_text("N");
  launch->add_flag("--json", command.bench.json, "Print each launch's time stamps (CLOCK_MONOTONIC) as a line of JSON");
  app.footer("\nExample:\n  ddp-launch bench launch --nproc 4");
  parse(app, args, command);
  return command;
}

// The values arrive here as bytes; past this point they are text. Only a prompt may have several lines.
void check_words(std::span<const std::string> args) {
  constexpr std::string_view kPrompt = "--prompt";
  const bool is_sample = !args.empty() && args.front() == "sample";
  for (size_t i = 0; i < args.size(); ++i) {
    const bool is_prompt = args[i].starts_with("--prompt=") || (i > 0 && args[i - 1] == kPrompt);
    const auto flaw = find_text_flaw(args[i], is_sample && is_prompt ? TextForm::block : TextForm::name);
    if (flaw)
      throw Error(ExitCode::usage, fmt::format("argument {}, '{}', holds {}", i + 1, one_line(args[i], 60), flaw->what),
                  "names and values are UTF-8 on one line");
  }
}

// The command with `inserted` right behind its verb, without the options `left_out` and their values.
std::string command_with(std::string_view program, std::span<const std::string> args, const std::string& inserted,
                         std::span<const char* const> left_out) {
  std::string out = shell_word(program);
  if (!args.empty() && args.front() == "run") {
    out += " run";
    args = args.subspan(1);
  }
  out += inserted;
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string& word = args[i];
    const auto is_word = [&](const char* option) { return word == option; };
    const auto begins_word = [&](const char* option) { return word.starts_with(std::string(option) + "="); };
    if (std::ranges::any_of(left_out, is_word))
      ++i;  // and its value
    else if (std::ranges::none_of(left_out, begins_word))
      out += " " + shell_word(word);
  }
  return out;
}

}  // namespace

Command parse_command_line(std::span<const std::string> args) {
  check_words(args);
  const std::string first = args.empty() ? "" : args.front();
  if (first == "plan") return parse_plan(args.subspan(1));
  if (first == "sample") return parse_sample(args.subspan(1));
  if (first == "eval") return parse_eval(args.subspan(1));
  if (first == "bench") return parse_bench(args.subspan(1));
  if (first == "help") return parse_run(std::array<std::string, 1>{"--help"});
  return parse_run(first == "run" ? args.subspan(1) : args);
}

int64_t parse_bytes(std::string_view text) {
  struct Unit {
    const char* name;
    double bytes;
  };
  constexpr std::array<Unit, 10> kUnits = {{{"", 1.0},
                                            {"B", 1.0},
                                            {"KB", 1e3},
                                            {"MB", 1e6},
                                            {"GB", 1e9},
                                            {"TB", 1e12},
                                            {"KiB", 1024.0},
                                            {"MiB", 1048576.0},
                                            {"GiB", 1073741824.0},
                                            {"TiB", 1099511627776.0}}};
  double number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view unit(stop, size_t(text.data() + text.size() - stop));
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  const auto known = std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& u) { return unit == u.name; });
  const double bytes = known == kUnits.end() ? 0.0 : number * known->bytes;
  if (error != std::errc{} || !(bytes >= 1.0 && bytes < 9e18))
    throw Error(ExitCode::usage, fmt::format("'{}' is not an amount of memory", text),
                "write for instance 11GiB or 500MB");
  return int64_t(std::llround(bytes));
}

std::string command_with_resume(std::string_view program, std::span<const std::string> args, std::string_view resume) {
  constexpr std::array kReplaced = {"--resume", "--stop-after", "--stop-when-closed", "--announce"};
  const bool is_path = resume != "auto" && resume != "none";
  const std::string value = is_path ? shell_path(path_as_text(resume)) : std::string(resume);
  return command_with(program, args, resume.empty() ? "" : " --resume " + value, kReplaced);
}

std::string command_with_accepted(std::string_view program, std::span<const std::string> args, std::string_view keys) {
  constexpr std::array kReplaced = {"--accept-change", "--stop-when-closed", "--announce"};
  return command_with(program, args, " --accept-change " + shell_word(keys), kReplaced);
}

}  // namespace ddp
