#include <catch2/catch.hpp>

#include "launcher/cli.h"
#include "launcher/devices.h"
#include "runtime/base/error.h"
#include "tests/support/failure.h"

using namespace ddp;

namespace {

Command parse(std::vector<std::string> args) { return parse_command_line(args); }

int code_of(std::vector<std::string> args) {
  try {
    parse_command_line(args);
  } catch (const Error& e) {
    CHECK(std::string(e.what()).find('\n') == std::string::npos);
    return int(e.code());
  }
  return 0;
}

std::string placement_error(const TrainOptions& train, const HostDevices& host) {
  try {
    place_ranks(train, host);
  } catch (const Error& e) {
    CHECK(e.code() == ExitCode::usage);
    return e.what();
  }
  return {};
}

// A host with the backend, a driver and four GPUs.
HostDevices four_gpus() {
  HostDevices host;
  host.cuda_built = host.nvml = host.driver = host.control_device = true;
  host.num_listed = 4;
  for (int i = 0; i < 4; ++i)
    host.gpus.push_back({.index = i, .uuid = "GPU-" + std::string(1, char('a' + i)) + "0", .name = "test"});
  return host;
}

}  // namespace

TEST_CASE("a command without a subcommand is a run with its defaults") {
  const Command command = parse({"train.yaml"});
  CHECK(command.verb == Verb::run);
  CHECK(command.train.config_file == "train.yaml");
  CHECK(command.train.device == "auto");
  CHECK(command.train.resume == "none");
  CHECK(command.train.nproc == 0);
  CHECK(parse({"run", "train.yaml"}).train.config_file == "train.yaml");
}

TEST_CASE("list options do not swallow the configuration file") {
  const Command gpus = parse({"--gpus", "0,2,3", "train.yaml"});
  CHECK(gpus.train.gpus == std::vector<int>{0, 2, 3});
  CHECK(gpus.train.config_file == "train.yaml");
  const Command set = parse({"--set", "optimizer.betas=[0.9, 0.95]", "--set", "data.train=a,b", "train.yaml"});
  CHECK(set.train.overrides == std::vector<std::string>{"optimizer.betas=[0.9, 0.95]", "data.train=a,b"});
  CHECK(set.train.config_file == "train.yaml");
}

TEST_CASE("every option of a run arrives") {
  const Command command = parse({"train.yaml", "--nproc", "4", "--device", "cpu", "--output-dir", "runs/a", "--resume",
                                 "auto", "--stop-after", "50", "--stop-when-closed", "7", "--announce", "0"});
  CHECK(command.train.nproc == 4);
  CHECK(command.train.device == "cpu");
  CHECK(command.train.output_dir == "runs/a");
  CHECK(command.train.resume == "auto");
  CHECK(command.train.stop_after == 50);
  CHECK(command.train.stop_when_closed == 7);
  CHECK(command.train.announce == 0);
}

TEST_CASE("usage errors are 64 and one line") {
  const std::vector<std::vector<std::string>> wrong = {
      {"--stop-when-closed", "-1", "train.yaml"},
      {"--stop-when-closed", "pipe", "train.yaml"},
      {"eval", "--stop-when-closed", "2147483648", "runs/a"},
      {"--announce", "", "train.yaml"},
      {},
      {"--nproc", "4"},
      {"--nproc", "0", "train.yaml"},
      {"--nproc", "65", "train.yaml"},
      {"--nproc", "four", "train.yaml"},
      {"--gpus", "-1", "train.yaml"},
      {"--gpus", "0", "--nproc", "1", "train.yaml"},
      {"--gpus", "0", "--device", "cpu", "train.yaml"},
      {"--device", "tpu", "train.yaml"},
      {"--stop-after", "0", "train.yaml"},
      {"--stop-after", "99999999999999999999", "train.yaml"},
      {"--output-dir", "", "train.yaml"},
      {"--resume", "", "train.yaml"},
      {"--no-such-option", "train.yaml"},
      {"train.yaml", "another.yaml"},
      {"plan"},
      {"plan", "--memory", "eleven", "train.yaml"},
      {"sample", "--prompt", "x"},
      {"sample", "runs/a"},
      {"sample", "runs/a", "--prompt", "x", "--temperature", "nan"},
      {"sample", "runs/a", "--prompt", "x", "--seed", "99999999999999999999"},
      {"eval"},
      {"eval", ""},
      {"eval", "runs/a", "runs/b"},
      {"eval", "runs/a", "--output-dir", "runs/b"},
      {"eval", "runs/a", "--gpus", "0", "--device", "cpu"},
      {"bench"},
      {"bench", "launch", "--repeat", "0"},
  };
  for (const auto& args : wrong) {
    std::string shown;
    for (const std::string& word : args) shown += word + " ";
    INFO("ddp-launch " << shown);
    CHECK(code_of(args) == 64);
  }
}

TEST_CASE("a usage error says what is wrong in words that fit on a line, and whose help to read") {
  const auto message = [](const std::vector<std::string>& args) -> std::string {
    try {
      parse_command_line(args);
    } catch (const Error& e) {
      return e.what();
    }
    return {};
  };
  CHECK(message({"--gpus", "0,x", "train.yaml"}) == "--gpus: 'x' names no GPU; write numbers as 0,1,2 or 0-2, or all");
  CHECK(message({"--stop-after", "-3", "train.yaml"}) ==
        "--stop-after: '-3' is not a whole number of 1 or more; see ddp-launch --help");
  CHECK(message({"--output-dir", "", "train.yaml"}) == "--output-dir: the name is empty; see ddp-launch --help");
  CHECK(message({"sample"}) == "RUN is required; see ddp-launch sample --help");
}

TEST_CASE("GPUs are numbers, ranges, lists of both, or all") {
  const auto gpus = [](const std::string& list) { return parse({"--gpus", list, "train.yaml"}).train.gpus; };
  CHECK(gpus("0-3") == std::vector{0, 1, 2, 3});
  CHECK(gpus("0, 2 - 3 ,5") == std::vector{0, 2, 3, 5});
  CHECK(gpus("0,0-1") == std::vector{0, 0, 1});  // refused where it is placed
  CHECK(parse({"--gpus=1", "--gpus", "0", "train.yaml"}).train.gpus == std::vector{1, 0});
  CHECK(parse({"--gpus", "all", "train.yaml"}).train.all_gpus);
  for (const char* list :
       {"", " ", ",", "0,", "-", "-1", "1-", "3-1", "0--1", "0-99999999999", "0-1000000", "1.5", "all,0", "ALL"}) {
    INFO(list);
    CHECK(code_of({"--gpus", list, "train.yaml"}) == 64);
  }
  CHECK(code_of({"--gpus", "all", "--gpus", "0", "train.yaml"}) == 64);
  CHECK(code_of({"--gpus", "all", "--device", "cpu", "train.yaml"}) == 64);
  CHECK(code_of({"--gpus", "all", "--nproc", "2", "train.yaml"}) == 64);
}

TEST_CASE("all GPUs are those that are visible, and an error where there are none") {
  const TrainOptions train = parse({"--gpus", "all", "train.yaml"}).train;
  CHECK(place_ranks(train, four_gpus()).indices == std::vector{0, 1, 2, 3});
  CHECK(place_plan(train, four_gpus()).indices == std::vector{0, 1, 2, 3});
  CHECK_THROWS_WITH(place_ranks(train, {}), Catch::StartsWith("--gpus: this machine has no NVIDIA driver"));
  CHECK_THROWS_WITH(place_plan(train, {}), Catch::StartsWith("--gpus: this machine has no NVIDIA driver"));
}

TEST_CASE("a word that is no command is blamed, and not the file behind it") {
  struct Row {
    std::vector<std::string> args;
    const char* says;
  };
  for (const Row& row :
       {Row{{"--set", "optimizer.lr", "1e-3", "x.yaml"},
            "--set optimizer.lr has no value; write --set optimizer.lr=VALUE"},
        Row{{"trian", "x.yaml"}, "unknown command 'trian'; did you mean ddp-launch train.yaml?"},
        Row{{"train", "x.yaml"}, "unknown command 'train'; did you mean ddp-launch train.yaml?"},
        Row{{"rnu", "x.yaml"}, "unknown command 'rnu'; did you mean ddp-launch run train.yaml?"},
        Row{{"paln", "x.yaml"}, "unknown command 'paln'; did you mean ddp-launch plan train.yaml?"},
        Row{{"evaluate", "runs/a"}, "did you mean ddp-launch eval RUN?"},
        Row{{"x.yaml", "y.yaml"}, "'y.yaml' is one word too many, behind the configuration 'x.yaml'"},
        Row{{"plan", "x.yaml", "y.yaml"}, "'y.yaml' is one word too many"},
        Row{{"eval", "a", "b"}, "'b' is one word too many; see ddp-launch eval --help"},
        Row{{"x.yaml", "--nrpoc", "2"}, "unknown option '--nrpoc'"},
        Row{{"--gpus", "0", "1", "x.yaml"}, "'1' is no configuration; write a list of GPUs as --gpus 0,1"}})
    CHECK_THROWS_WITH(parse_command_line(row.args), Catch::Contains(row.says));
}

TEST_CASE("plan takes the options of a run, and an amount of memory") {
  const Command command =
      parse({"plan", "--nproc", "2", "--set", "train.steps=1", "--memory", "11GiB", "--json", "a.yaml"});
  CHECK(command.verb == Verb::plan);
  CHECK(command.train.nproc == 2);
  CHECK(command.train.config_file == "a.yaml");
  CHECK(command.plan.json);
  CHECK(command.plan.memory_bytes == 11811160064);
}

TEST_CASE("eval takes a run, a checkpoint or a configuration, and says where and how") {
  const Command command =
      parse({"eval", "--gpus", "0,1", "--set", "data.valid=v", "--json", "runs/a/checkpoints/best"});
  CHECK(command.verb == Verb::evaluate);
  CHECK(command.train.config_file == "runs/a/checkpoints/best");
  CHECK(command.train.gpus == std::vector<int>{0, 1});
  CHECK(command.train.overrides == std::vector<std::string>{"data.valid=v"});
  CHECK(command.eval.json);
  CHECK_FALSE(parse({"eval", "--nproc", "3", "train.yaml"}).eval.json);
  CHECK(parse({"eval", "--help"}).verb == Verb::show);
}

TEST_CASE("amounts of memory") {
  CHECK(parse_bytes("4096") == 4096);
  CHECK(parse_bytes("1.5 KiB") == 1536);
  CHECK(parse_bytes("10GB") == 10'000'000'000);
  for (const char* wrong : {"", "GiB", "0", "-1GiB", "5 parsecs", "1e30", "nan"}) {
    INFO(wrong);
    CHECK_THROWS_AS(parse_bytes(wrong), Error);
  }
}

TEST_CASE("sample, bench, explain, version and help") {
  const Command sample = parse(
      {"sample", "runs/a", "--prompt", "In the", "--tokens", "7", "--temperature", "0", "--top-k", "5", "--seed", "9"});
  CHECK(sample.verb == Verb::sample);
  CHECK(sample.sample.run == "runs/a");
  CHECK(sample.sample.prompt == "In the");
  CHECK(sample.sample.tokens == 7);
  CHECK(sample.sample.temperature == 0.0);
  CHECK(sample.sample.top_k == 5);
  CHECK(sample.sample.seed == 9);
  CHECK(parse({"bench", "launch", "--nproc", "3"}).bench.nproc == 3);
  CHECK(parse({"--explain"}).verb == Verb::explain);
  CHECK(parse({"--explain", "train.seed"}).explain_key == "train.seed");
  CHECK(parse({"--version"}).verb == Verb::version);
  CHECK(!parse({"--version"}).version.json);
  CHECK(parse({"--json", "--version"}).version.json);
  CHECK(parse({"help"}).text == parse({"--help"}).text);
  for (const char* verb : {"run", "plan", "sample", "bench"}) {
    const Command help = parse({verb, "--help"});
    CHECK(help.verb == Verb::show);
    CHECK(help.text.find("Example") != std::string::npos);
  }
}

TEST_CASE("the command that resumes keeps everything but --resume and --stop-after") {
  const auto resume = [](std::vector<std::string> args) { return command_with_resume("ddp-launch", args, "auto"); };
  CHECK(resume({"--nproc", "4", "a.yaml"}) == "ddp-launch --resume auto --nproc 4 a.yaml");
  CHECK(resume({"run", "--resume", "none", "--stop-after", "5", "a.yaml"}) == "ddp-launch run --resume auto a.yaml");
  CHECK(resume({"--resume=none", "--stop-after=5", "my config.yaml"}) == "ddp-launch --resume auto 'my config.yaml'");
  CHECK(resume({"it's.yaml"}) == "ddp-launch --resume auto 'it'\\''s.yaml'");
  const std::vector<std::string> args = {"--resume", "a b", "a.yaml"};
  CHECK(command_with_resume("./my launch", args, "a b") == "'./my launch' --resume 'a b' a.yaml");
  CHECK(command_with_resume("ddp-launch", args, "") == "ddp-launch a.yaml");
  CHECK(resume({"--stop-when-closed", "5", "--announce=6", "a.yaml"}) == "ddp-launch --resume auto a.yaml");
  CHECK(command_with_resume("ddp-launch", args, "-$x/~") == "ddp-launch --resume './-$$x/~' a.yaml");
}

TEST_CASE("the command that accepts changes is the command that was typed, but for that") {
  const std::vector<std::string> args = {
      "run", "--resume",   "auto", "--accept-change",      "a.b",           "--accept-change=c", "--stop-after",
      "5",   "--announce", "6",    "--stop-when-closed=5", "my config.yaml"};
  CHECK(command_with_accepted("ddp-launch", args, "c,d.e") ==
        "ddp-launch run --accept-change c,d.e --resume auto --stop-after 5 'my config.yaml'");
}

TEST_CASE("what a resume may change is a list, and for a run that goes on") {
  const auto accepted = [](std::vector<std::string> args) { return parse_command_line(args).train.accepted; };
  CHECK(accepted({"--resume", "auto", "--accept-change", "train.steps,optimizer.lr", "--accept-change", "train.seed",
                  "a.yaml"}) == std::vector<std::string>{"train.steps", "optimizer.lr", "train.seed"});
  for (const std::vector<std::string>& args : std::vector<std::vector<std::string>>{
           {"--accept-change", "train.steps", "a.yaml"}, {"--resume", "auto", "--accept-change", "", "a.yaml"}})
    CHECK(test::failure_of([&] { parse_command_line(args); }).code == 64);
}

TEST_CASE("words that are not text on one line are 64, but for the lines of a prompt") {
  const std::vector<std::vector<std::string>> wrong = {
      {"tra\nin.yaml"},
      {"--output-dir", "runs/a\nb", "train.yaml"},
      {"--output-dir=runs/\xff", "train.yaml"},
      {"--resume", "runs/a\x1b[2J", "train.yaml"},
      {"--set", "data.train=a\tb", "train.yaml"},
      {"--set=output_dir=\xc2\x85", "train.yaml"},
      {"--explain", "train\r"},
      {"plan", "--output-dir", "\x7f", "train.yaml"},
      {"--prompt", "a\nb"},
      {"sample", "runs/a\n", "--prompt", "x"},
      {"sample", "runs/a", "--prompt", "x\x1b"},
      {"sample", "runs/a", "--prompt=\xff"},
      {"bench", "launch\n"},
  };
  for (const auto& args : wrong) {
    INFO(args.back());
    CHECK(code_of(args) == 64);
  }
  for (const std::vector<std::string>& args :
       {std::vector<std::string>{"sample", "runs/a", "--prompt", "a\n\tb"}, {"sample", "runs/a", "--prompt=a\n\tb"}})
    CHECK(parse(args).sample.prompt == "a\n\tb");
}

TEST_CASE("ranks are placed on what the host has") {
  const HostDevices bare{}, with_gpus = four_gpus();
  TrainOptions train;
  CHECK(place_ranks(train, bare).device == "cpu");
  CHECK(place_ranks(train, bare).ranks() == 1);
  CHECK(place_ranks(train, with_gpus).device == "cuda");
  train.nproc = 4;
  train.device = "cpu";
  CHECK(place_ranks(train, with_gpus).label(3) == "cpu 3");
  train = {};
  train.gpus = {3, 1};
  CHECK(place_ranks(train, with_gpus).label(0) == "GPU 3");
  CHECK(place_ranks(train, with_gpus).uuids == std::vector<std::string>{"GPU-d0", "GPU-b0"});
}

TEST_CASE("a GPU for two ranks is refused, but where tests ask for it") {
  HostDevices host = four_gpus();
  TrainOptions train;
  train.gpus = {2, 1, 2};
  CHECK_THAT(placement_error(train, host), Catch::Contains("GPU 2 twice"));
  CHECK_THROWS_AS(place_plan(train, host), Error);
  host.share_gpu = true;
  CHECK(place_ranks(train, host).uuids == std::vector<std::string>{"GPU-c0", "GPU-b0", "GPU-c0"});
  CHECK(place_ranks(train, host).shares_gpu());
  train.gpus = {2, 1};
  CHECK(!place_ranks(train, host).shares_gpu());
}

TEST_CASE("a precision that a rank's device does not have is refused, and what it has is said") {
  HostDevices host = four_gpus();
  for (GpuInfo& gpu : host.gpus) gpu.capability_major = 8;
  host.gpus[2].capability_major = 7, host.gpus[2].capability_minor = 5;
  const auto refusal = [&](PrecisionName precision, const Placement& placement) -> std::string {
    try {
      check_precision(precision, placement, host);
    } catch (const Error& e) {
      CHECK(e.code() == ExitCode::config);
      return e.what();
    }
    return {};
  };
  for (const PrecisionName precision : {PrecisionName::bf16, PrecisionName::tf32}) {
    CAPTURE(name_of(precision));
    CHECK_THAT(refusal(precision, {"cuda", {0, 2}}),
               Catch::Contains("GPU 2 (test) has 7.5") && Catch::Contains("fp16"));
    CHECK(refusal(precision, {"cuda", {0, 3}}).empty());
  }
  for (const PrecisionName precision : {PrecisionName::fp32, PrecisionName::fp16})
    CHECK(refusal(precision, {"cuda", {2}}).empty());
  host.gpus[2].capability_minor = 0;  // older than any kernel is compiled for
  for (const PrecisionName precision : {PrecisionName::fp32, PrecisionName::fp16, PrecisionName::bf16})
    CHECK_THAT(refusal(precision, {"cuda", {2}}), Catch::Contains("has 7.0") && Catch::Contains("--device cpu"));
  CHECK_THAT(refusal(PrecisionName::tf32, {"cpu", {0}}), Catch::Contains("CPU") && Catch::Contains("bf16"));
  CHECK(refusal(PrecisionName::bf16, {"cpu", {0}}).empty());
}

TEST_CASE("a plan for GPUs needs none") {
  TrainOptions train;
  CHECK(place_plan(train, {}).device == "cpu");
  train.device = "cuda";
  train.nproc = 4;
  CHECK(place_plan(train, {}).device == "cuda");
  CHECK(place_plan(train, {}).ranks() == 4);
}

TEST_CASE("devices that are not there are refused with what to do instead") {
  const HostDevices bare{}, with_gpus = four_gpus();
  HostDevices no_backend = with_gpus;
  no_backend.cuda_built = false;
  TrainOptions train;
  train.gpus = {0, 1, 2, 3};
  CHECK_THAT(placement_error(train, bare),
             Catch::Contains("no NVIDIA driver") && Catch::Contains("--nproc 4 --device cpu"));
  CHECK_THAT(placement_error(train, no_backend), Catch::Contains("no CUDA backend"));
  train.gpus = {4};
  CHECK_THAT(placement_error(train, with_gpus), Catch::Contains("GPU 4"));
  train = {};
  train.device = "cuda";
  CHECK_THAT(placement_error(train, bare), Catch::Contains("no NVIDIA driver"));
  train.nproc = 5;
  CHECK_THAT(placement_error(train, with_gpus), Catch::Contains("has 4"));
}

// What --device auto makes of a host: a placement, or why there is none.
TEST_CASE("auto trains on the CPU where nothing promises GPUs, and is refused where a promise is not kept") {
  struct Row {
    const char* name;
    HostDevices host;
    const char* refusal;  // empty: there is none
    const char* note;     // of a run on the CPU; empty: none
  };
  const auto host = [](bool nvml, bool control_device, int num_listed, std::optional<std::string> cuda_visible,
                       std::optional<std::string> nvidia_visible) {
    HostDevices h;
    h.cuda_built = true;
    h.nvml = nvml;
    h.driver = num_listed >= 0;
    h.control_device = control_device;
    h.num_listed = std::max(num_listed, 0);
    h.cuda_visible_devices = std::move(cuda_visible);
    h.nvidia_visible_devices = std::move(nvidia_visible);
    return h;
  };
  HostDevices cpu_build = host(true, true, 4, {}, {});
  cpu_build.cuda_built = false;
  HostDevices cpu_build_in_a_job = cpu_build;
  cpu_build_in_a_job.cuda_visible_devices = "0,1";
  constexpr int kNoDriver = -1;
  const Row rows[] = {
      {"a laptop", host(false, false, kNoDriver, {}, {}), "", ""},
      {"the library without a driver", host(true, false, kNoDriver, {}, {}), "", ""},
      {"a container without NVML", host(false, true, kNoDriver, {}, {}), "DRIVER_CAPABILITIES=compute,utility", ""},
      {"one of NVIDIA's images", host(false, true, kNoDriver, {}, "all"), "there is /dev/nvidiactl", ""},
      {"that image without GPUs", host(false, false, kNoDriver, {}, "all"), "", "libnvidia-ml.so.1 is not there"},
      {"a container that was to have GPUs", host(false, false, kNoDriver, {}, "0,1"), "DEVICES is 0,1: the NVIDIA", ""},
      {"a container that was to have none", host(false, false, kNoDriver, {}, "void"), "", ""},
      {"another", host(false, false, kNoDriver, {}, "none"), "", ""},
      {"an empty list", host(false, false, kNoDriver, {}, ""), "", ""},
      {"a job on a node without a driver", host(false, false, kNoDriver, "0", {}), "DEVICES is 0: the NVIDIA", ""},
      {"a MIG device", host(true, true, 1, "MIG-ab12", {}), "names a MIG device, and those are not supported", ""},
      {"a MIG device and no NVML", host(false, true, kNoDriver, "MIG-ab12", "all"), "not supported; let it name", ""},
      {"a driver without GPUs", host(true, true, 0, {}, {}), "lists no GPU", ""},
      {"a GPU that is not there", host(true, true, 2, "7", {}), "CUDA_VISIBLE_DEVICES (7) leaves none of 2 GPUs", ""},
      {"hidden by an empty list", host(true, true, 2, "", "all"), "", ""},
      {"hidden by -1", host(true, true, 2, "-1", "0"), "", ""},
      {"hidden by NoDevFiles", host(false, true, kNoDriver, "NoDevFiles", "0"), "", ""},
      {"a build without CUDA", cpu_build, "", "this build has no CUDA backend"},
      {"a build without CUDA in a GPU job", cpu_build_in_a_job, "this build has no CUDA backend", ""},
  };
  for (const Row& row : rows) {
    INFO(row.name);
    TrainOptions train;
    train.nproc = 3;
    const std::string refusal = placement_error(train, row.host);
    CHECK_THAT(refusal, Catch::Contains(row.refusal));
    CHECK(refusal.empty() == (row.refusal[0] == '\0'));
    if (!refusal.empty()) {
      CHECK_THAT(refusal, Catch::StartsWith("--device auto: no GPU can be used, though ") &&
                              Catch::EndsWith("or train on the CPU: --nproc 3 --device cpu"));
    } else {
      const Placement placement = place_ranks(train, row.host);
      CHECK(placement.device == "cpu");
      CHECK(placement.ranks() == 3);
      CHECK_THAT(placement.note, Catch::Contains(row.note));
      CHECK(placement.note.empty() == (row.note[0] == '\0'));
    }
    train.device = "cpu";
    CHECK(place_ranks(train, row.host).note.empty());
    train.device = "cuda";
    CHECK_THAT(placement_error(train, row.host), Catch::StartsWith("--device cuda: "));
  }
}

TEST_CASE("--gpus counts in nvidia-smi's order what CUDA_VISIBLE_DEVICES leaves") {
  const auto visible = [](std::string_view text) {
    std::vector<int> indices;
    for (const GpuInfo& gpu : visible_gpus(four_gpus().gpus, text)) indices.push_back(gpu.index);
    return indices;
  };
  CHECK(visible("3,1") == std::vector{1, 3});
  CHECK(visible("GPU-c,0") == std::vector{0, 2});
  CHECK(visible("1,7,2") == std::vector{1});
  CHECK(visible("").empty());
}
