// Runs of GPT-2 with 2 layers by real ranks, each a process with the trainer, its reducer and its optimizer, in a
// folder of their own; without a launcher, so that a test can change the op table and reach the board from within.
#pragma once

#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "models/options_registry.h"
#include "models/registry.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/fs.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/device/cpu_device.h"
#include "runtime/rank/known.h"
#include "runtime/train/trainer.h"
#include "tests/comm/rank_harness.h"
#include "tests/support/temporary_folder.h"

namespace ddp::test {

struct TrainerRuns {
  struct How {
    OpTable table = cpu_op_table();
    std::function<void(RankContext&)> before = [](RankContext&) {};  // in each rank
    std::string resume = "none";
    int64_t stop_after = 0;
    std::optional<ExitCode> ends_with = {};  // checked on each rank
    int64_t checked_first_bytes = int64_t{1} << 30;
  };

  TemporaryFolder folder;
  std::string base;  // the configuration but for output_dir; {0} is the folder
  Known known;

  explicit TrainerRuns(std::string base_config,
                       const Known& with = {config_registry(), model_makers(), source_makers()})
      : base(std::move(base_config)), known(with) {
    std::string text;
    for (int i = 0; i < 400; ++i) text += fmt::format("{} bottles of beer on the wall, ", i % 61);
    write_text_atomically(folder.path / "train.txt", text);
  }

  std::filesystem::path path(const std::string& name) const { return folder.path / name; }
  std::filesystem::path checkpoint(const std::string& name, int64_t step) const {
    return path(name) / "checkpoints" / fmt::format("step-{:08}", step);
  }
  bool is_committed(const std::string& name, int64_t step) const {
    return std::filesystem::exists(checkpoint(name, step));
  }
  TrainingState state(const std::string& name, int64_t step) const {
    return parse_manifest(read_text(checkpoint(name, step) / kManifestFile), name).state;
  }
  std::vector<nlohmann::json> metrics(const std::string& name) const {
    std::istringstream lines(read_text(path(name) / kMetricsFile));
    std::vector<nlohmann::json> records;
    for (std::string line; std::getline(lines, line);) records.push_back(nlohmann::json::parse(line));
    return records;
  }
  std::string output(const std::string& name) const { return read_text(path(name + "-0.out")); }  // of rank 0

  // How each rank of the run ended.
  std::vector<RankResult> run(const std::string& name, int ranks, const std::vector<std::string>& settings,
                              const How& how) const {
    const Config config =
        parse_config(fmt::format(fmt::runtime(base), folder.path.string()) + "output_dir: " + path(name).string(),
                     "test", known.config, settings);
    const DryRun plan = dry_run(config, ranks, *make_model(config, DeviceKind::cpu, known.models));
    const auto body = [&](RankContext& c) {
      RankEnv env;
      env.rank = c.comm.rank();
      env.world_size = ranks;
      env.resume = how.resume;
      env.stop_after = how.stop_after;
      std::freopen(path(fmt::format("{}-{}.out", name, env.rank)).c_str(), "w", stdout);
      how.before(c);
      const auto model = make_model(config, DeviceKind::cpu, known.models);
      const ExitCode end = Trainer({.config = config,
                                    .env = env,
                                    .board = c.board,
                                    .device = c.device,
                                    .table = how.table,
                                    .comm = c.comm,
                                    .model = *model,
                                    .sources = known.sources,
                                    .plan = plan,
                                    .wait = c.wait,
                                    .checked_first_bytes = how.checked_first_bytes})
                               .run();
      if (how.ends_with) expect(end == *how.ends_with, "ended with {} and not {}", int(end), int(*how.ends_with));
    };
    std::fflush(stdout);  // else each rank writes what the parent has not written yet
    return RankProcesses(ranks, {.symmetric_bytes = plan.symmetric_bytes}, body).wait_for_all();
  }
};

}  // namespace ddp::test
