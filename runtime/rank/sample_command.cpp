#include "runtime/rank/sample_command.h"

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <sstream>

#include "runtime/base/cores.h"
#include "runtime/base/fs.h"
#include "runtime/base/output.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/rank/command_args.h"
#include "runtime/state/finite.h"
#include "runtime/train/generator.h"

namespace ddp {
namespace {

std::vector<int32_t> parse_prompt(const std::string& prompt, bool is_bytes, int64_t vocab) {
  std::vector<int32_t> tokens;
  if (is_bytes) {
    for (unsigned char c : prompt) tokens.push_back(c);
  } else {
    std::istringstream words(prompt);
    for (int64_t token; words >> token;) {
      if (token < 0 || token >= vocab)
        throw Error(ExitCode::usage,
                    fmt::format("token {} of the prompt is outside the vocabulary of {}", token, vocab));
      tokens.push_back(int32_t(token));
    }
    if (!words.eof())
      throw Error(ExitCode::usage, "this run was trained on tokens", "give the prompt as token ids: \"464 2068\"");
  }
  if (tokens.empty()) throw Error(ExitCode::usage, "the prompt is empty", "give at least one character with --prompt");
  return tokens;
}

// A model that has learnt little makes any bytes: what could steer a terminal is not sent to one.
void print_token(int32_t token, bool is_bytes) {
  const bool is_control = (token < 0x20 && token != '\n' && token != '\t') || token == 0x7F;
  write_output([=] {
    if (is_bytes)
      std::putchar(is_control && ::isatty(STDOUT_FILENO) == 1 ? '?' : token);
    else
      std::printf("%d ", token);
  });
}

}  // namespace

ExitCode sample_command(std::span<char*> raw, const Known& known) {
  const CommandArgs args(raw);
  const std::filesystem::path run = args.text("--run");
  const std::filesystem::path config_file = run / "config.yaml";
  const Config config = parse_stored_config(read_text(config_file), config_file.string(), known.config);
  const auto checkpoint = find_newest_verified(
      run / "checkpoints", [](const std::string& text) { fmt::print(stderr, "warning: {}\n", text); });
  if (!checkpoint)
    throw Error(ExitCode::no_input, run.string() + " holds no checkpoint yet", "wait for one, or send the run SIGUSR1");

  const std::unique_ptr<Model> model = make_model(config, DeviceKind::cpu, known.models);
  const LanguageModel* language_model = model->language_model();
  if (language_model == nullptr)
    throw Error(ExitCode::usage,
                fmt::format("{} is a run of {}, which writes no text", run.string(), config.model.name),
                "sample a run of a language model");
  const std::unique_ptr<Device> device = make_cpu_device({.num_threads = usable_cores()});
  Buffer<float> params(*device, model->layout().flat_elements());
  std::vector<float> state(size_t(model->state_layout().flat_elements()));
  load_checkpoint_model(checkpoint->path, {.layout = model->layout(),
                                           .params = params.data(),
                                           .state_layout = model->state_layout(),
                                           .state = state.data()});
  if (const std::string tensor = first_non_finite(model->layout(), params.data()); !tensor.empty())
    throw Error(ExitCode::non_finite, fmt::format("{}: {} is not finite", checkpoint->path.string(), tensor),
                "sample an older checkpoint: move this one away");

  const bool is_bytes = config.data.format == "bytes";
  std::vector<int32_t> tokens = parse_prompt(args.text("--prompt"), is_bytes, language_model->vocab());
  for (int32_t token : tokens) print_token(token, is_bytes);
  Generator generator(*device, op_table(device->kind()), *language_model, params.view());
  const SamplingOptions options{.temperature = args.number("--temperature"),
                                .top_k = args.integer("--top-k"),
                                .seed = uint64_t(args.integer("--seed"))};
  for (int64_t i = 0; i < args.integer("--tokens"); ++i) {
    tokens.push_back(generator.next(tokens, options, uint64_t(i)));
    print_token(tokens.back(), is_bytes);
  }
  write_output([] { std::putchar('\n'); });
  return ExitCode::complete;
}

}  // namespace ddp
