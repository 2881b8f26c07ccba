// Trains a configuration's model on one batch that comes from a file, and writes what another implementation can be
// compared with (scripts/parity.py): what an evaluation computes, the losses of some steps, the gradients of the first
// one.
//
// usage: parity_one_batch CONFIG BATCH FOLDER STEPS THREADS
// CONFIG is a run's, with model.init_from and as many samples in a micro-batch as in a global one. BATCH has the
// model's inputs one after another, each of all samples, as they lie in memory. Writes two files to FOLDER:
// evaluated.safetensors, of an evaluation the "logits", with the columns of their padding, and "last_norm", what the
// last layer norm wrote, where the model has one; gradients.safetensors, of the first step, under the names that the
// parameters are saved with, as they are reduced; none where STEPS is 0. Prints JSON: the mean losses, and "counted",
// the part of a full batch's targets that count, by which the gradients are still to be divided.
#include <cstring>
#include <nlohmann/json.hpp>

#include "models/options_registry.h"
#include "runtime/base/fs.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/tensor_map.h"
#include "runtime/device/cpu_device.h"
#include "runtime/state/safetensors.h"
#include "tests/support/step_runner.h"

namespace ddp {
namespace {

// What an evaluation computed; written by the device's worker.
struct Kept {
  int64_t columns = 0;
  std::vector<float> values;
};
Kept logits, last_norm;
bool evaluates = true;  // and does not train yet

void append(Kept& kept, const TensorView& x) {
  kept.columns = x.dim(x.shape.rank - 1);
  kept.values.insert(kept.values.end(), x.as<float>(), x.as<float>() + x.numel());
}

// The CPU's, keeping them.
OpTable keeping_table() {
  OpTable table = cpu_op_table();
  table.entry<CrossEntropy>() = [](Stream& stream, const CrossEntropy& a) {
    if (evaluates) cpu_enqueue(stream, [x = a.logits](ThreadPool&) { append(logits, x); });
    cpu_op_table().entry<CrossEntropy>()(stream, a);
  };
  table.entry<LayerNormForward>() = [](Stream& stream, const LayerNormForward& a) {
    cpu_op_table().entry<LayerNormForward>()(stream, a);
    if (!evaluates) return;
    cpu_enqueue(stream, [y = a.y](ThreadPool&) {
      last_norm = {};
      append(last_norm, y);
    });
  };
  return table;
}

void write_evaluated(const std::filesystem::path& file) {
  std::vector<TensorToSave> tensors;
  for (const auto& [name, kept] : {std::pair("last_norm", &last_norm), std::pair("logits", &logits)})
    if (!kept->values.empty())
      tensors.push_back({name, {int64_t(kept->values.size()) / kept->columns, kept->columns}, kept->values.data()});
  write_safetensors(file, tensors);
}

void fill(HostBatch& batch, const std::string& bytes) {
  size_t at = 0;
  for (const BatchLayout::Field& field : batch.layout().fields()) {
    if (field.input.derive != nullptr || field.input.name == kSampleIds) continue;
    const TensorView x = batch.view(field.input.name);
    const auto n = size_t(x.bytes());
    if (at + n > bytes.size()) throw Error(ExitCode::data, "the batch ends within " + field.input.name);
    std::memcpy(x.data, bytes.data() + at, n);
    at += n;
  }
  std::iota(batch.sample_ids().begin(), batch.sample_ids().end(), 0);
  batch.derive();
}

nlohmann::json run(const char* config_file, const char* batch_file, const std::filesystem::path& folder, int64_t steps,
                   int threads) {
  const OpTable table = keeping_table();
  test::StepRunner runner(load_config(config_file, config_registry()), make_cpu_device({.num_threads = threads}),
                          table);
  runner.load(runner.config.model.init_from);
  fill(runner.batch, read_text(batch_file));
  const HostBatch& batch = runner.batch;
  TrainStep& step = runner.step;

  step.enqueue_eval(batch);
  step.drain();
  evaluates = false;
  write_evaluated(folder / "evaluated.safetensors");
  std::vector<double> losses;
  double counted = 0;
  for (int64_t number = 1; number <= steps; ++number) {
    const StepMetrics metrics = runner.train(number, [&]() -> const HostBatch& { return batch; });
    losses.push_back(metrics.loss());
    if (number > 1) continue;
    counted = metrics.counted_targets / double(step.shape().global_targets);
    const TensorView gradients = step.reducer().gradients();  // in memory of the host
    write_safetensors(folder / "gradients.safetensors", tensors_to_save(step.layout(), gradients.as<float>(), ""));
  }
  return {{"losses", losses}, {"counted", counted}};
}

}  // namespace
}  // namespace ddp

int main(int argc, char** argv) {
  if (argc != 6) {
    fmt::print(stderr, "usage: parity_one_batch CONFIG BATCH FOLDER STEPS THREADS\n");
    return 64;
  }
  try {
    fmt::print("{}\n", ddp::run(argv[1], argv[2], argv[3], std::atoi(argv[4]), std::atoi(argv[5])).dump());
    return 0;
  } catch (const ddp::Error& e) {
    fmt::print(stderr, "parity_one_batch: {}\n", e.what());
    return int(e.code());
  }
}
