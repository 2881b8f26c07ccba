// Trains a configuration's model on one batch that comes from a file, and writes what another implementation can be
// compared with (scripts/parity_resnet.py): the logits of an evaluation, the losses of some steps, the gradients of the
// first one.
//
// usage: parity_one_batch CONFIG BATCH GRADIENTS THREADS
// CONFIG is a run's, with model.init_from and as many samples in a micro-batch as in a global one. BATCH has the
// model's inputs one after another, each of all samples, as they lie in memory. GRADIENTS is a safetensors file that is
// written, under the names that the parameters are saved with. Prints JSON.
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

std::vector<float> evaluated_logits;

// The CPU's, keeping the logits of a loss.
OpTable keeping_logits() {
  OpTable table = cpu_op_table();
  table.entry<CrossEntropy>() = [](Stream& stream, const CrossEntropy& a) {
    if (!a.backward)
      cpu_enqueue(stream, [a](ThreadPool&) {
        const auto* logits = a.logits.as<float>();
        evaluated_logits.insert(evaluated_logits.end(), logits, logits + a.logits.numel());
      });
    cpu_op_table().entry<CrossEntropy>()(stream, a);
  };
  return table;
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

nlohmann::json run(const char* config_file, const char* batch_file, const char* gradients_file, int threads) {
  const OpTable table = keeping_logits();
  test::StepRunner runner(load_config(config_file, config_registry()), make_cpu_device({.num_threads = threads}),
                          table);
  runner.load(runner.config.model.init_from);
  fill(runner.batch, read_text(batch_file));
  const HostBatch& batch = runner.batch;
  TrainStep& step = runner.step;

  const Buffer<double> sums(*runner.device, step.num_eval_sums());
  step.enqueue_eval(batch, sums.view());
  step.drain();
  std::vector<double> losses;
  for (int64_t number = 1; number <= runner.config.train.steps; ++number) {
    const StepMetrics metrics = runner.train(number, [&]() -> const HostBatch& { return batch; });
    losses.push_back(metrics.loss_sum / double(step.shape().global_targets));
    if (number > 1) continue;
    const TensorView gradients = step.reducer().gradients();  // as they were reduced; in memory of the host
    write_safetensors(gradients_file, tensors_to_save(step.layout(), gradients.as<float>(), ""));
  }
  return {{"logits", evaluated_logits}, {"losses", losses}};
}

}  // namespace
}  // namespace ddp

int main(int argc, char** argv) {
  if (argc != 5) {
    fmt::print(stderr, "usage: parity_one_batch CONFIG BATCH GRADIENTS THREADS\n");
    return 64;
  }
  try {
    fmt::print("{}\n", ddp::run(argv[1], argv[2], argv[3], std::atoi(argv[4])).dump());
    return 0;
  } catch (const ddp::Error& e) {
    fmt::print(stderr, "parity_one_batch: {}\n", e.what());
    return int(e.code());
  }
}
