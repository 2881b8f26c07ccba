// ddp-launch as a user meets it: its exit codes, its last line, what it writes, and that it leaves nothing behind. The
// ranks are fake_rank processes, which misbehave as told.
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/base/clock.h"
#include "tests/launcher/launched.h"
#include "tests/support/time_limit.h"

using namespace ddp;
using Catch::Contains;
using Catch::StartsWith;

namespace {

const std::vector<std::string> kFour = {"--nproc", "4", "train.yaml"};

nlohmann::json status_of(const Workplace& place) { return nlohmann::json::parse(place.read("out/status.json")); }

std::vector<std::string> with(std::vector<std::string> more) {
  more.insert(more.end(), kFour.begin(), kFour.end());
  return more;
}

}  // namespace

TEST_CASE("a run in which all ranks finish ends with 0 and says nothing more") {
  const Workplace place;
  Launched run(place, kFour, "*:step=4,1:say=hello");
  CHECK(run.end() == 0);
  CHECK(run.out() == "[rank 1] hello\n");
  CHECK(run.err().empty());
  CHECK(place.read("out/logs/rank-1.log") == "hello\n");
  CHECK(place.read("out/logs/rank-3.log").empty());
  CHECK_FALSE(place.has("out/.lock"));
  CHECK(status_of(place)["state"] == "finished");
  CHECK(status_of(place)["step"] == 4);
  CHECK(Launched::nothing_left());
}

TEST_CASE("the first rank to fail gives the exit code and the last line, and takes the others down") {
  struct Row {
    const char* script;
    int code;
    const char* cause;
  };
  const Row row = GENERATE(
      Row{"2:signal=9,*:train", 137, "killed by SIGKILL"}, Row{"2:signal=11,*:train", 139, "killed by SIGSEGV"},
      Row{"2:signal=6,*:train", 134, "killed by SIGABRT"}, Row{"2:exit=74,*:train", 74, "exited with code 74"},
      Row{"2:exit=0,*:train", 70, "exited before its work was done"},
      Row{"2:early=0", 70, "exited before its work was done"}, Row{"2:early=71", 71, "exited with code 71"},
      Row{"2:error=79,*:train", 79, "backward, bucket 4: it broke"},
      Row{"2:child,2:exit=74,*:child,*:train", 74, "exited with code 74"});
  INFO(row.script);
  const Workplace place;
  Launched run(place, kFour, row.script);
  CHECK(run.end() == row.code);
  CHECK(Launched::nothing_left());
  const std::string line = run.last_error_line();
  CHECK_THAT(line,
             StartsWith("FAILED rank 2 (cpu 2) step ") && Contains(row.cause) && Contains("; ranks 0,1,3 stopped in "));
  // Nothing is in the folder yet, and not finite is not finite again.
  CHECK((line.find("; no checkpoint yet, start again: ") != std::string::npos) == (row.code != 79));
  CHECK((line.find("ddp-launch --nproc 4 train.yaml") != std::string::npos) == (row.code != 79));
  const nlohmann::json status = status_of(place);
  CHECK(status["state"] == "failed");
  CHECK(status["exit_code"] == row.code);
  CHECK(status["error"] == line);
  CHECK(status["failure"]["rank"] == 2);
  CHECK(status["failure"]["victims"] == std::vector<int>{0, 1, 3});
  CHECK_FALSE(place.has("out/.lock"));
}

TEST_CASE("the others are gone within 1 s of the first failure") {
  constexpr double kLimitMs = 1000;
  const char* script = GENERATE("2:signal=9,*:train", "2:error=79,*:train", "2:child,2:exit=74,*:child,*:train");
  INFO(script);
  const auto fail_once = [&] {
    const Workplace place;
    Launched run(place, kFour, script);
    run.end();
    return 1000 * status_of(place)["failure"]["stopped_in_s"].get<double>();
  };
  CHECK(test::best_ms(kLimitMs, fail_once) < kLimitMs);
}

TEST_CASE("ranks that do not look at the abort word are killed after the grace") {
  const Workplace place;
  Launched run(place, kFour, "1:linger,*:loop");
  CHECK(run.end() == 74);
  CHECK(Launched::nothing_left());
  CHECK_THAT(run.last_error_line(), Contains("it lingers; ranks 0,2,3 stopped in "));
  CHECK(status_of(place)["failure"]["stopped_in_s"].get<double>() >= 2.0);
}

TEST_CASE("how ranks ended is known also where the launcher's parent ignores the end of its children") {
  const Workplace place;
  Launched run(place, kFour, Launched::Options{"2:signal=9,*:train", {}, SIGCHLD, false});
  CHECK(run.end() == 137);
  CHECK_THAT(run.last_error_line(), StartsWith("FAILED rank 2") && Contains("killed by SIGKILL"));
}

TEST_CASE("a reader of stdout that goes away does not end the run, and the log goes on") {
  const Workplace place;
  Launched run(place, kFour, "*:say=up,*:checkpoint,*:say=down");
  REQUIRE(run.prints("up", 4));
  run.close_stdout();
  run.signal(SIGUSR1);
  CHECK(run.end() == 0);
  CHECK(place.read("out/logs/rank-0.log") == "up\ndown\n");
}

TEST_CASE("ranks die within 2 s with a launcher that is killed") {
  constexpr double kLimitMs = 2000;
  const auto kill_launcher = [] {
    const Workplace place;
    Launched run(place, kFour, "*:say=up,*:loop");
    REQUIRE(run.prints("up", 4));
    const int64_t begin = monotonic_ns();
    run.signal(SIGKILL);
    CHECK(run.end() == -SIGKILL);
    CHECK(Launched::nothing_left());
    return ms_between(begin, monotonic_ns());
  };
  CHECK(test::best_ms(kLimitMs, kill_launcher) < kLimitMs);
}

TEST_CASE("a run without progress is a hang, 124") {
  const Workplace place;
  Launched run(place, with({"--set", "train.hang_timeout_s=1"}), "*:loop");
  CHECK(run.end() == 124);
  CHECK_THAT(run.last_error_line(), StartsWith("FAILED rank 0") && Contains("no rank made progress for 1 s"));
  CHECK(Launched::nothing_left());
}

TEST_CASE("ranks that load renew all deadlines as long as they read") {
  const Workplace place;
  Launched run(place, with({"--set", "train.hang_timeout_s=10"}), "*:read");
  CHECK(run.end() == 0);
  CHECK(run.err().empty());
}

TEST_CASE("a stopped rank is named within 2 s") {
  constexpr double kLimitMs = 2000;
  const auto stop_a_rank = [] {
    const Workplace place;
    const int64_t begin = monotonic_ns();
    Launched run(place, kFour, "2:signal=19,*:train");
    CHECK(run.prints("rank 2 is stopped"));
    const double named_ms = ms_between(begin, monotonic_ns());
    for (int i = 0; i < 3; ++i) run.signal_and_wait(SIGINT);
    CHECK(run.end() == -SIGINT);
    CHECK(Launched::nothing_left());
    return named_ms;
  };
  CHECK(test::best_ms(kLimitMs, stop_a_rank) < kLimitMs);
}

TEST_CASE("two runs cannot share a folder, and the first is left alone") {
  const Workplace place;
  Launched first(place, kFour, "*:say=up,*:checkpoint");
  REQUIRE(first.prints("up", 4));
  Launched second(place, kFour);
  CHECK(second.end() == 73);
  CHECK_THAT(second.err(), Contains("out is in use by process " + std::to_string(first.pid()) + ";"));
  first.signal(SIGUSR1);
  CHECK(first.end() == 0);
}

TEST_CASE("a folder that holds a run is refused, naming how to go on, unless it is resumed") {
  const char* holds = GENERATE("out/metrics.jsonl/", "out/checkpoints/step-00000100/");
  const Workplace place;
  std::filesystem::create_directories(place.path(holds));
  if (place.has("out/checkpoints")) place.make_checkpoint(holds);
  Launched fresh(place, kFour);
  CHECK(fresh.end() == 73);
  CHECK_THAT(fresh.err(), Contains("already holds a run") && Contains("--resume auto"));
  CHECK_FALSE(place.has("out/logs"));
  Launched resumed(place, with({"--resume", "auto"}), "0:env=DDP_RESUME");
  CHECK(resumed.end() == 0);
  CHECK_THAT(resumed.out(), Contains("DDP_RESUME=auto"));
}

TEST_CASE("a checkpoint of another run is refused where a folder holds a run, and nothing is touched") {
  const Workplace place;
  for (const char* checkpoint : {"other/checkpoints/step-00000010", "out/checkpoints/step-00000020"})
    place.make_checkpoint(checkpoint);
  Launched refused(place, with({"--resume", "other/checkpoints/step-00000010"}));
  CHECK(refused.end() == 73);
  CHECK_THAT(refused.last_error_line(), Contains("out holds a run, and other/checkpoints/step-00000010 is not of") &&
                                            Contains("--resume auto --nproc 4 train.yaml; or choose another"));
  CHECK_FALSE(place.has("out/logs"));
  CHECK_FALSE(place.has("out/resumed_from"));
  CHECK_FALSE(place.has("out/.lock"));
}

TEST_CASE("a run from elsewhere is told so again by auto, until it has a checkpoint of its own") {
  const Workplace place;
  const std::string source = "other/checkpoints/step-00000010";
  place.make_checkpoint(source);
  const std::string origin = std::filesystem::canonical(place.path(source)).string();
  Launched killed(place, with({"--resume", source, "--stop-after", "9"}), "0:env=DDP_RESUME,1:signal=9,*:train");
  CHECK(killed.end() == 137);
  CHECK_THAT(killed.out(), Contains("DDP_RESUME=" + source));
  CHECK_THAT(killed.last_error_line(), Contains("; resume: ") && Contains("--resume auto --nproc 4 train.yaml"));
  CHECK(place.read("out/resumed_from") == origin + "\n");
  Launched resumed(place, with({"--resume", "auto"}), "0:env=DDP_RESUME,0:commit=12");
  CHECK(resumed.end() == 0);
  CHECK_THAT(resumed.out(), Contains("DDP_RESUME=" + origin));
  Launched own(place, with({"--resume", "auto"}), "0:env=DDP_RESUME");
  CHECK(own.end() == 0);
  CHECK_THAT(own.out(), Contains("DDP_RESUME=auto"));
}

TEST_CASE("an origin that cannot be written is a warning, and the run starts") {
  const Workplace place;
  place.make_checkpoint("other");
  std::filesystem::create_directories(place.path("out/resumed_from.tmp"));
  Launched run(place, with({"--resume", "other"}), "*:exit=74");
  CHECK(run.end() == 74);
  CHECK_THAT(run.err(), Contains("warning: cannot create out/resumed_from.tmp: ") &&
                            Contains("--resume auto does not know where this run comes from"));
  CHECK_THAT(run.last_error_line(), Contains("; resume: ") && Contains("--resume other --nproc 4 train.yaml"));
}

TEST_CASE("an output folder that cannot be one is refused in one line") {
  const Workplace place;
  std::filesystem::create_directory(place.path("real"));
  std::filesystem::create_directory_symlink("nowhere", place.path("dangling"));
  std::filesystem::create_directory_symlink("circle", place.path("circle"));
  std::filesystem::create_symlink("data.txt", place.path("to_file"));
  ::mkfifo(place.path("fifo").c_str(), 0600);
  struct Row {
    const char* folder;
    int code;
    const char* says;
  };
  for (const Row& row :
       {Row{"fifo", 77, "'fifo' is no folder"}, Row{"fifo/run", 73, "Not a directory"},
        Row{"data.txt", 73, "Not a directory"}, Row{"data.txt/run", 73, "Not a directory"},
        Row{"data.txt/../run", 73, "Not a directory"}, Row{"to_file", 73, "Not a directory"},
        Row{"/proc/run", 73, "cannot create 'run'"},
        Row{"dangling/run", 73, "'dangling', a symbolic link to nowhere: No such file"},
        Row{"real/../circle", 73, "'circle', a symbolic link to circle: Too many levels of symbolic links"}}) {
    INFO(row.folder);
    Launched run(place, with({"--output-dir", row.folder}));
    CHECK(run.end() == row.code);
    CHECK_THAT(run.err(), StartsWith("ddp-launch: output folder ") && Contains(row.says));
  }
  CHECK(std::filesystem::is_empty(place.path("real")));
  CHECK_FALSE(place.has("run"));
}

TEST_CASE("links and .. on the way to the output folder are followed once, and the run says where it is") {
  const Workplace place;
  for (const char* folder : {"real/runs/1", "real/runs/2", "other/runs/1"})
    std::filesystem::create_directories(place.path(folder));
  std::filesystem::create_directory_symlink("real", place.path("link"));
  std::filesystem::create_directory_symlink("runs/2", place.path("real/latest"));
  const auto [given, real] = GENERATE(table<std::string, std::string>({{"link/runs/1", "real/runs/1"},
                                                                       {"link/runs/../new/3", "real/new/3"},
                                                                       {"link/../real/x", "real/x"},
                                                                       {"link/latest", "real/runs/2"},
                                                                       {"real/latest/../1", "real/runs/1"}}));
  Launched run(place, with({"--output-dir", given}), "*:say=up,*:checkpoint");
  REQUIRE(run.prints("up", 4));
  // Whoever switches a link does not move the run.
  std::filesystem::remove(place.path("link"));
  std::filesystem::create_directory_symlink("other", place.path("link"));
  run.signal(SIGUSR1);
  CHECK(run.end() == 0);
  const std::string there = std::filesystem::canonical(place.path(real)).string();
  CHECK(run.err() == "ddp-launch: " + given + " is " + there + "\n");
  CHECK(nlohmann::json::parse(read_text(there + "/status.json"))["state"] == "finished");
  CHECK(std::filesystem::exists(there + "/logs/rank-3.log"));
  CHECK(std::filesystem::is_empty(place.path("other/runs/1")));
}

TEST_CASE("a path without links stays as it was written") {
  const Workplace place;
  const std::string given = GENERATE("a/b", "./a//b/", "a/./b");
  Launched run(place, with({"--output-dir", given}));
  CHECK(run.end() == 0);
  CHECK(run.err().empty());
  CHECK(place.has("a/b/status.json"));
}

TEST_CASE("a link in the place of what a run makes in its folder is refused, and named with its target") {
  const Workplace place;
  const std::string name = GENERATE("checkpoints", "logs", "metrics.jsonl", "config.yaml", "status.json",
                                    "resumed_from", ".lock", "train.index", "valid.checked", "checkpoints/best",
                                    "checkpoints/step-00000005", "checkpoints/abandoned-5-x", "logs/rank-0.log");
  INFO(name);
  std::filesystem::create_directories(place.path("out/checkpoints"));
  std::filesystem::create_directories(place.path("out/logs"));
  std::filesystem::create_directories(place.path("elsewhere"));
  std::filesystem::remove(place.path("out/" + name));
  const std::string target = GENERATE("elsewhere", "nowhere");
  std::filesystem::create_symlink(place.path(target), place.path("out/" + name));
  for (const char* resume : {"none", "auto"}) {
    Launched run(place, with({"--resume", resume}));
    CHECK(run.end() == 77);
    CHECK_THAT(run.err(), Contains("'" + name + "' is a symbolic link to " + place.path(target)));
  }
  CHECK(std::filesystem::is_empty(place.path("elsewhere")));
  CHECK_FALSE(place.has("nowhere"));
}

TEST_CASE("a folder inside of a run is refused: the run would remove it with a checkpoint") {
  const Workplace place;
  std::filesystem::create_directories(place.path("out/checkpoints/step-00000005"));
  std::ofstream(place.path("out/metrics.jsonl")) << "";
  const std::string inside = GENERATE("out/checkpoints/step-00000005", "out/checkpoints/new", "out/logs");
  Launched run(place, with({"--output-dir", inside}));
  CHECK(run.end() == 73);
  CHECK_THAT(run.err(), Contains("is inside of the run out"));
  CHECK_FALSE(place.has("out/checkpoints/new"));
}

TEST_CASE("links that somebody keeps beside what a run makes are theirs") {
  const Workplace place;
  std::filesystem::create_directories(place.path("out/checkpoints"));
  std::filesystem::create_symlink("/nowhere", place.path("out/notes"));
  std::filesystem::create_symlink("/nowhere", place.path("out/checkpoints/final"));
  Launched run(place, kFour);
  CHECK(run.end() == 0);
}

TEST_CASE("a list of devices of which none can be used is refused, and named, unless the CPU is asked for") {
  const Workplace place;
  ::setenv("DDP_NVML", place.path("no-library").c_str(), 1);
  ::setenv("CUDA_VISIBLE_DEVICES", "MIG-12345678", 1);
  Launched refused(place, kFour);
  Launched on_cpu(place, with({"--device", "cpu", "--output-dir", "cpu"}));
  ::setenv("CUDA_VISIBLE_DEVICES", "-1", 1);
  Launched hidden(place, with({"--output-dir", "hidden"}));
  ::unsetenv("CUDA_VISIBLE_DEVICES");
  ::unsetenv("DDP_NVML");
  CHECK(refused.end() == 64);
  CHECK_THAT(refused.last_error_line(), Contains("MIG device") && Contains("--nproc 4 --device cpu"));
  CHECK_FALSE(place.has("out"));
  for (Launched* run : {&on_cpu, &hidden}) {
    CHECK(run->end() == 0);
    CHECK(run->err().empty());
  }
}

TEST_CASE("what can be checked before the fork is, and leaves no folder behind") {
  const Workplace place;
  struct Row {
    std::vector<std::string> args;
    int code;
    const char* message;
  };
  const std::vector<Row> rows = {
      {{"--nproc", "4"}, 64, "no train.yaml"},
      {{"--gpus", "0,1", "train.yaml"}, 64, "--nproc 2 --device cpu"},
      {with({"--output-dir", "out\nb"}), 64, "argument 2, 'out?b', holds a line break"},
      {with({"--output-dir", "out\xff"}), 64, "argument 2, 'out?', holds the byte 0xff, which is not UTF-8"},
      {with({"--output-dir", std::string(5000, 'o')}), 78, "--output-dir: a scalar of 5000 bytes"},
      {{"none.yaml"}, 66, "none.yaml"},
      {with({"--set", "data.valid=none.txt"}), 66, "data.valid: cannot open none.txt"},
      {with({"--set", "data.train=."}), 66, "data.train: . is not a regular file"},
      {with({"--set", "model.init_from=none.safetensors"}), 66, "model.init_from"},
      {with({"--resume", "out/checkpoints/step-1"}), 66, "--resume: cannot open"},
      {with({"--set", "train.stepz=1"}), 78, "train.steps"},
      {with({"--set", "train.global_batch=5"}), 78, "global_batch"},
  };
  for (const Row& row : rows) {
    INFO(row.message);
    Launched run(place, row.args);
    CHECK(run.end() == row.code);
    CHECK_THAT(run.err(), StartsWith("ddp-launch: ") && Contains(row.message));
    CHECK(run.err().find('\n') == run.err().size() - 1);
    CHECK_FALSE(place.has("out"));
  }
}

TEST_CASE("variables that are no text are refused by name where they are ours, or say which GPUs there are") {
  const Workplace place;
  for (const char* name : {"DDP_LOG", "DDP_NVML", "DDP_CUDA_LIBRARIES", "CUDA_VISIBLE_DEVICES"}) {
    INFO(name);
    ::setenv(name, "0\n", 1);
    Launched run(place, kFour);
    CHECK(run.end() == 64);
    CHECK_THAT(run.err(), StartsWith("ddp-launch: " + std::string(name) + " holds a line break; "));
    CHECK_FALSE(place.has("out"));
    ::unsetenv(name);
  }
  ::setenv("VIRTUAL_ENV", "/\n", 1);
  Launched run(place, kFour);
  CHECK(run.end() == 0);
  ::unsetenv("VIRTUAL_ENV");
}

TEST_CASE("a rank's program that is missing or does not start is an error of the system, 71") {
  const Workplace place;
  Launched missing(place, kFour, Launched::Options{{}, place.path("none"), 0, -1});
  CHECK(missing.end() == 71);
  CHECK_THAT(missing.err(), Contains("DDP_RANK"));
  ::chmod(place.path("data.txt").c_str(), 0755);
  Launched broken(place, kFour, Launched::Options{{}, place.path("data.txt"), 0, -1});
  CHECK(broken.end() == 71);
  CHECK_THAT(broken.out(), Contains("cannot execute"));
  CHECK(Launched::nothing_left());
}

TEST_CASE("a rank inherits standard streams, board and segment, and no other descriptor") {
  const Workplace place;
  Launched run(place, kFour, Launched::Options{"0:fds,3:fds", {}, 0, STDERR_FILENO});
  CHECK(run.end() == 0);
  CHECK_THAT(run.out(), Contains("[rank 0] 5 descriptors") && Contains("[rank 3] 5 descriptors"));
}

TEST_CASE("a rank is told its place and the run's options") {
  const Workplace place;
  Launched run(place, with({"--stop-after", "50"}),
               "3:env=RANK,3:env=WORLD_SIZE,3:env=DDP_STOP_AFTER,3:env=OMP_NUM_THREADS,3:env=DDP_TTY,3:env=DDP_DEVICE");
  CHECK(run.end() == 0);
  CHECK(run.out() ==
        "[rank 3] RANK=3\n[rank 3] WORLD_SIZE=4\n[rank 3] DDP_STOP_AFTER=50\n[rank 3] OMP_NUM_THREADS=1\n"
        "[rank 3] DDP_TTY=0\n[rank 3] DDP_DEVICE=cpu\n");
}

TEST_CASE("plan and sample become ddp-rank with their arguments") {
  const Workplace place;
  const std::string echo = place.path("echo");
  const std::string text = "#!/bin/sh\necho \"$@\"\n[ \"$1\" = sample ] || cat\n";
  write_all(create_output(echo), std::as_bytes(std::span(text)), echo);
  ::chmod(echo.c_str(), 0755);
  const Launched::Options options{{}, echo, 0, -1};
  Launched plan(place, {"plan", "--nproc", "4", "--memory", "1KiB", "--json", "train.yaml"}, options);
  CHECK(plan.end() == 0);
  CHECK_THAT(plan.out(),
             StartsWith("plan --ranks 4 --device cpu --memory 1024 --format json\n") && Contains("global_batch: 12"));
  std::filesystem::create_directory(place.path("out"));
  Launched no_run(place, {"sample", "out", "--prompt", "x"}, options);
  CHECK(no_run.end() == 66);
  write_all(create_output(place.path("out/config.yaml")), {}, "config.yaml");
  Launched sample(place, {"sample", "out", "--prompt", "In the", "--tokens", "7"}, options);
  CHECK(sample.end() == 0);
  CHECK(sample.out() == "sample --run out --prompt In the --tokens 7 --temperature 0.8 --top-k 0 --seed 1\n");
}
