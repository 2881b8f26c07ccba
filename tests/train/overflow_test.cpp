// Gradients that are not finite, planted in a run of real ranks: the trainer, its reducer and its optimizer, on an op
// table that is the CPU's but for one faulty entry.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>

#include "runtime/device/float16.h"
#include "tests/train/trainer_runs.h"

using namespace ddp;
using namespace ddp::test;

namespace {

struct Fault {
  int64_t first_step = 0, last_step = -1;
  int rank = -1;  // -1: every rank
  float value = 0;
  bool in_loss = false;  // else in the gradient of wpe.weight
};

// Of the rank that this process is: an entry of an op table is a plain function.
Fault planted;
TensorView loss_sums;  // of the lane

void watched_sum_losses(Stream& stream, const SumLosses& a) {
  cpu_op_table().entry<SumLosses>()(stream, a);
  loss_sums = a.sums;
}

// Puts the fault's value where it belongs. It is the micro-step's last op, and knows the step.
void faulty_embedding_backward(Stream& stream, const EmbeddingBackward& a) {
  cpu_op_table().entry<EmbeddingBackward>()(stream, a);
  cpu_enqueue(stream, [a, loss_sums = loss_sums](ThreadPool&) {
    if (*a.dropout.step < planted.first_step || *a.dropout.step > planted.last_step) return;
    if (planted.in_loss) {
      loss_sums.as<double>()[kLossSum] = double(planted.value);
      return;
    }
    switch (a.dwpe.dtype) {
      case DType::f16:
        *a.dwpe.as<Half>() = to_f16(planted.value);
        break;
      case DType::bf16:
        *a.dwpe.as<BFloat16>() = to_bf16(planted.value);
        break;
      default:
        *a.dwpe.as<float>() = planted.value;
    }
  });
}

constexpr const char* kConfig = R"(
model: {{name: gpt2, layers: 2, heads: 2, width: 32, context: 16, dropout: 0.1}}
data: {{format: bytes, train: {0}/train.txt, valid: {0}/train.txt}}
train: {{steps: 7, micro_batch: 2, global_batch: 8, precision: fp16}}
optimizer: {{name: adamw, lr: 1e-3}}
schedule: {{name: linear, warmup_steps: 5, min_lr: 1e-5}}
eval: {{every: 0}}
checkpoint: {{every: 1, keep: 20}}
)";

struct Part {
  std::string resume = "none";
  int64_t stop_after = 0;
};

struct Runs : TrainerRuns {
  Runs() : TrainerRuns(kConfig) {}

  std::vector<RankResult> run(const std::string& name, int ranks, const std::vector<std::string>& settings,
                              const Fault& fault = {}, const Part& part = {}) const {
    How how{.resume = part.resume, .stop_after = part.stop_after};
    how.table.entry<SumLosses>() = watched_sum_losses;
    how.table.entry<EmbeddingBackward>() = faulty_embedding_backward;
    how.before = [&](RankContext& c) {
      if (fault.rank < 0 || fault.rank == c.comm.rank()) planted = fault;
    };
    return TrainerRuns::run(name, ranks, settings, how);
  }
};

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kStep = 4;  // of the fault

}  // namespace

TEST_CASE("an overflow on one rank skips the step on all, and the run goes on") {
  for (const int ranks : {1, 2, 4}) {
    INFO(ranks << " ranks");
    const Runs runs;
    const Fault fault{.first_step = kStep, .last_step = kStep, .rank = ranks - 1, .value = kInfinity};
    REQUIRE(failures(runs.run("good", ranks, {})) == "");
    REQUIRE(failures(runs.run("bad", ranks, {}, fault)) == "");

    for (const char* file : {kModelFile, kOptimizerFile}) {  // not a bit of parameters and moments changes
      const std::string before = read_text(runs.checkpoint("bad", kStep - 1) / file);
      CHECK(read_text(runs.checkpoint("good", kStep - 1) / file) == before);
      CHECK(read_text(runs.checkpoint("bad", kStep) / file) == before);
      CHECK(read_text(runs.checkpoint("bad", kStep + 1) / file) != before);
    }
    const TrainingState state = runs.state("bad", kStep), before = runs.state("bad", kStep - 1);
    CHECK(state.step() == kStep);
    CHECK(state.samples_seen == before.samples_seen + 8);
    CHECK(state.next.applied_steps == kStep - 1);
    CHECK(state.optimizer_scalars == before.optimizer_scalars);
    CHECK(state.next.loss_scale == 32768);
    CHECK(state.next.growth_count == 0);
    CHECK(runs.state("bad", 7).next.growth_count == 3);

    const std::vector<nlohmann::json> bad = runs.metrics("bad"), good = runs.metrics("good");
    REQUIRE(bad.size() == 7);
    for (size_t i = 0; i < bad.size(); ++i) {
      const int64_t step = int64_t(i) + 1;
      INFO("step " << step);
      CHECK(bad[i]["step"] == step);
      CHECK(bad[i]["skipped"] == (step == kStep));
      CHECK(bad[i]["applied_steps"] == (step < kStep ? step : step - 1));
      CHECK(bad[i]["loss_scale"] == (step <= kStep ? 65536 : 32768));
      CHECK(bad[i]["lr"] == good[step <= kStep ? i : i - 1]["lr"]);
      CHECK(bad[i]["loss"].is_number());
    }
    CHECK(bad[kStep - 1]["non_finite"] == "wpe.weight");
    CHECK(bad[kStep - 1]["non_finite_rank"] == ranks - 1);
    CHECK(runs.output("bad").find(fmt::format(
              "\nstep 4: skipped, loss scale 65536 -> 32768: wpe.weight of rank {} is not finite\n", ranks - 1)) !=
          std::string::npos);
  }
}

TEST_CASE("an overflow of the sum of finite gradients skips the step, and no rank is blamed") {
  const Runs runs;
  for (const int ranks : {2, 4}) {
    INFO(ranks << " ranks");
    const std::string name = std::to_string(ranks);
    const Fault fault{.first_step = kStep, .last_step = kStep, .rank = -1, .value = 40'000};  // f16 ends at 65,504
    REQUIRE(failures(runs.run(name, ranks, {}, fault)) == "");
    CHECK(read_text(runs.checkpoint(name, kStep) / kModelFile) ==
          read_text(runs.checkpoint(name, kStep - 1) / kModelFile));
    const nlohmann::json step = runs.metrics(name)[kStep - 1];
    CHECK(step["skipped"] == true);
    CHECK(step["non_finite"] == "wpe.weight");
    CHECK(step["non_finite_rank"].is_null());
    CHECK(runs.output(name).find("wpe.weight is not finite in the sum over ranks\n") != std::string::npos);
  }
  const Fault fault{.first_step = kStep, .last_step = kStep, .rank = -1, .value = 40'000};
  REQUIRE(failures(runs.run("wide", 4, {"train.grad_dtype=fp32"}, fault)) == "");
  CHECK(runs.metrics("wide")[kStep - 1]["skipped"] == false);
}

TEST_CASE("a skipped step consumes its batch, and dropout goes by the attempted step") {
  const Runs runs;
  // Updates below any parameter's last bit: losses tell batches and masks alone.
  const std::vector<std::string> still = {"optimizer.lr=1e-14", "schedule.min_lr=0"};
  REQUIRE(failures(runs.run("good", 2, still)) == "");
  REQUIRE(failures(runs.run("bad", 2, still,
                            {.first_step = kStep, .last_step = kStep, .rank = 1, .value = kInfinity})) == "");
  const std::vector<nlohmann::json> bad = runs.metrics("bad"), good = runs.metrics("good");
  for (size_t i = 0; i < bad.size(); ++i) CHECK(bad[i]["loss"] == good[i]["loss"]);
  CHECK(bad[5]["loss"] != bad[4]["loss"]);
}

TEST_CASE("skips at the floor of the loss scale end the run with 79, and that step is not committed") {
  const Runs runs;
  const Fault fault{.first_step = kStep, .last_step = 7, .rank = 1, .value = kInfinity};
  const auto check = [&](const std::string& name, const std::vector<std::string>& settings, int64_t last_committed,
                         const std::string& text) {
    INFO(name);
    bool told = false;
    for (const RankResult& result : runs.run(name, 2, settings, fault)) {
      CHECK((result.code == int(ExitCode::non_finite) || result.code == kVictim));
      told = told || result.text.find(text) != std::string::npos;
    }
    CHECK(told);
    CHECK(runs.is_committed(name, last_committed));
    CHECK_FALSE(runs.is_committed(name, last_committed + 1));
  };
  check("static", {"train.loss_scale=128", "train.max_floor_skips=3"}, 5,
        "step 6: the gradient of wpe.weight of rank 1 is not finite (skipped in a row: 3; the loss scale, 128,");
  check("dynamic", {"train.loss_scale_init=2", "train.max_floor_skips=2"}, 5,
        "step 6: the gradient of wpe.weight of rank 1 is not finite (skipped in a row: 2; the loss scale, 1,");
  for (const char* precision : {"fp32", "bf16"})
    check(precision, {fmt::format("train.precision={}", precision)}, 3,
          "step 4: the gradient of wpe.weight of rank 1 is not finite (loss ");
}

TEST_CASE("a loss that is not finite skips the step like an overflow, though all gradients are finite") {
  const Runs runs;
  const Fault fault{.first_step = kStep, .last_step = kStep, .rank = 1, .value = kInfinity, .in_loss = true};
  REQUIRE(failures(runs.run("fp16", 2, {}, fault)) == "");
  CHECK(read_text(runs.checkpoint("fp16", kStep) / kModelFile) ==
        read_text(runs.checkpoint("fp16", kStep - 1) / kModelFile));
  CHECK(runs.state("fp16", kStep).next.loss_scale == 32768);
  const std::vector<nlohmann::json> metrics = runs.metrics("fp16");
  REQUIRE(metrics.size() == 7);
  CHECK(metrics[kStep - 1]["skipped"] == true);
  CHECK(metrics[kStep - 1]["loss"].is_null());
  CHECK(metrics[kStep - 1]["grad_norm"].is_number());
  CHECK(metrics[kStep - 1]["non_finite"] == "loss");
  CHECK(metrics[kStep]["skipped"] == false);

  for (const RankResult& result :
       runs.run("fp32", 1, {"train.precision=fp32"},
                {.first_step = kStep, .last_step = kStep, .value = kInfinity, .in_loss = true})) {
    CHECK(result.code == int(ExitCode::non_finite));
    CHECK(result.text.find("step 4: the loss of rank 0 is not finite (loss inf)") != std::string::npos);
  }
  CHECK_FALSE(runs.is_committed("fp32", kStep));
}

TEST_CASE("a run that was stopped after a skipped step, and again before its scale grows, ends as if it had not been") {
  const Runs runs;
  // The scale is 2, and 1 from step 4 on, whose skip finds it at the floor; it grows after step 7.
  const std::vector<std::string> settings = {"train.loss_scale_init=2", "train.loss_scale_interval=3",
                                             "train.max_floor_skips=2"};
  const Fault fault{.first_step = 3, .last_step = kStep, .rank = 1, .value = kInfinity};
  REQUIRE(failures(runs.run("whole", 2, settings, fault)) == "");
  REQUIRE(failures(runs.run("cut", 2, settings, fault, {.stop_after = kStep})) == "");
  CHECK(runs.state("cut", kStep).next.floor_skips == 1);
  REQUIRE(failures(runs.run("cut", 2, settings, fault, {.resume = "auto", .stop_after = 6})) == "");
  CHECK(runs.state("cut", 6).next.growth_count == 2);
  CHECK_FALSE(runs.is_committed("cut", 7));
  REQUIRE(failures(runs.run("cut", 2, settings, fault, {.resume = "auto"})) == "");
  for (const char* file : {kModelFile, kOptimizerFile})
    CHECK(read_text(runs.checkpoint("cut", 7) / file) == read_text(runs.checkpoint("whole", 7) / file));
  const TrainingState whole = runs.state("whole", 7), cut = runs.state("cut", 7);
  CHECK(static_cast<const Progress&>(cut) == static_cast<const Progress&>(whole));
  CHECK(cut.optimizer_scalars == whole.optimizer_scalars);
  CHECK(whole.next.loss_scale == 2);

  // Skips in a row count over the stop: the second at the floor is the last.
  const Fault longer{.first_step = 3, .last_step = 7, .rank = 1, .value = kInfinity};
  REQUIRE(failures(runs.run("collapse", 2, settings, longer, {.stop_after = kStep})) == "");
  bool told = false;
  for (const RankResult& result : runs.run("collapse", 2, settings, longer, {.resume = "auto"}))
    told =
        told || result.text.find("step 5: the gradient of wpe.weight of rank 1 is not finite (skipped in a row: 2;") !=
                    std::string::npos;
  CHECK(told);
}

TEST_CASE("a run in which every update was skipped ends with 79 and is not committed as a result") {
  const Runs runs;
  const Fault always{.first_step = 1, .last_step = 7, .rank = 1, .value = kInfinity};
  const auto ends_with_79 = [&](const std::string& name, const Part& part) {
    const std::vector<RankResult> results = runs.run(name, 2, {}, always, part);
    for (const RankResult& result : results)
      CHECK((result.code == int(ExitCode::non_finite) || result.code == kVictim));
    CHECK(std::any_of(results.begin(), results.end(), [](const RankResult& result) {
      return result.text.find("none of the 7 steps applied an update") != std::string::npos;
    }));
    CHECK(runs.is_committed(name, 6));
    CHECK_FALSE(runs.is_committed(name, 7));
  };
  ends_with_79("whole", {});
  // Over its whole life: a stop is no end, and what a resume adds is not all there was.
  REQUIRE(failures(runs.run("parts", 2, {}, always, {.stop_after = 3})) == "");
  ends_with_79("parts", {.resume = "auto"});
  REQUIRE(failures(runs.run("late", 2, {}, {.first_step = 2, .last_step = 7, .rank = 1, .value = kInfinity})) == "");
  CHECK(runs.state("late", 7).next.applied_steps == 1);
}

// An update that overflows, though its gradient is finite.
void overflowing_adamw(Stream& stream, const AdamW& a) {
  cpu_op_table().entry<AdamW>()(stream, a);
  cpu_enqueue(stream, [a](ThreadPool&) {
    if (a.scalars->state.attempted_step == kStep) a.p.as<float>()[a.p.numel() / 2] = kInfinity;
  });
}

TEST_CASE("weights that are not finite are never committed, and the older checkpoints stay") {
  const Runs runs;
  TrainerRuns::How how;
  how.table.entry<AdamW>() = overflowing_adamw;
  const std::vector<RankResult> results = runs.TrainerRuns::run("wild", 2, {"checkpoint.every=2"}, how);
  CHECK(results[0].code == int(ExitCode::non_finite));
  CHECK(results[0].text.find("step 4: h.") == 0);
  CHECK(results[0].text.find(" is not finite, and is not committed") != std::string::npos);
  CHECK(runs.is_committed("wild", 2));
  CHECK_FALSE(runs.is_committed("wild", 4));
}

TEST_CASE("a start from weights that are not finite, or that fp16 does not hold, is refused, naming the tensor") {
  const Runs runs;
  REQUIRE(failures(runs.run("good", 1, {})) == "");
  const std::string file = runs.path("other.safetensors");
  const auto results_with = [&](float last_weight, const char* precision) {
    std::string weights = read_text(runs.checkpoint("good", 7) / kModelFile);
    std::memcpy(weights.data() + weights.size() - sizeof last_weight, &last_weight, sizeof last_weight);
    write_text_atomically(file, weights);
    return runs.run(precision, 2, {"model.init_from=" + file, fmt::format("train.precision={}", precision)});
  };
  const auto refused = [&](float last_weight, const char* precision, const std::string& why) {
    INFO(last_weight << " in " << precision);
    const std::vector<RankResult> results = results_with(last_weight, precision);
    CHECK(results[0].code == int(ExitCode::non_finite));
    CHECK(results[0].text.find(file + ": ") == 0);
    CHECK(results[0].text.find(why) != std::string::npos);
    CHECK(results[1].code == kVictim);
    CHECK_FALSE(std::filesystem::exists(runs.path(precision)));
  };
  refused(NAN, "fp32", " is not finite; start from ");
  refused(-kInfinity, "bf16", " is not finite; start from ");
  refused(NAN, "fp16", " is not finite; start from ");
  refused(-65520, "fp16", " holds values beyond the range of fp16");
  CHECK(failures(results_with(-65520, "bf16")) == "");
}
