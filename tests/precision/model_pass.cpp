#include "tests/precision/model_pass.h"

#include <random>

#include "runtime/state/init.h"
#include "runtime/train/input_stager.h"
#include "tests/precision/stored.h"
#include "tests/support/live_elements.h"

namespace ddp::test {
namespace {

constexpr WaitPolicy kWait = {.timeout_ms = 120'000};

// The meta device's table for every storage type.
OpTable dry_table() {
  OpTable table = meta_op_table();
  table.storage = {DType::f64, DType::f32, DType::f16, DType::bf16};
  return table;
}

// A flat tensor in device memory.
class DeviceTensor {
 public:
  DeviceTensor(Device& device, int64_t n, DType type)
      : memory_(device, n * int64_t(dtype_bytes(type))),
        view_(memory_.data(), type, {n}),
        host_(size_t(view_.bytes())) {}
  const TensorView& view() const { return view_; }
  void upload(const Vec& values, Stream& stream) {
    store(on_host(), values);
    stream.copy(view_.data, host_.data(), view_.bytes());
  }
  void download(Stream& stream) { stream.copy(host_.data(), view_.data, view_.bytes()); }
  Vec values() { return load(on_host()); }  // of the last copy, once it has run

 private:
  TensorView on_host() { return {host_.data(), view_.dtype, view_.shape}; }

  Buffer<std::byte> memory_;
  TensorView view_;
  std::vector<std::byte> host_;
};

}  // namespace

ModelPass train_pass(const Backend& backend, const Model& model, const Vec& params, const HostBatch& batch,
                     float loss_scale) {
  Device& device = backend.device;
  const int64_t n = int64_t(params.size()), targets = batch.layout().num_samples() * model.targets_per_sample();
  DeviceTensor param_tensor(device, n, backend.storage), grads(device, n, backend.storage),
      sums(device, kNumTrainSums, DType::f64), statistics(device, model.state_layout().flat_elements(), DType::f64);
  Buffer<StepScalars> scalars(device, 1);
  InputStager stager(device, batch.layout());

  const auto train = [&](const Exec& exec, Arena& arena) {
    arena.begin(Program::train);
    model.train(exec, arena,
                {.params = param_tensor.view(),
                 .grads = grads.view(),
                 .batch = stager.batch(),
                 .attempted_step = &scalars.data()->state.attempted_step,
                 .seed = 5,
                 .grad_scale = 1.0f / float(targets),
                 .loss_scale = &scalars.data()->state.loss_scale,
                 .sums = sums.view(),
                 .statistics = statistics.view(),
                 .ready = [](ParamId) {}});
    arena.end();
  };

  const std::unique_ptr<Device> meta = make_meta_device();
  const OpTable dry = dry_table();
  Stream dry_stream(*meta, StreamRole::compute);
  Arena recording;
  train({.table = &dry, .stream = &dry_stream}, recording);
  const ArenaPlan plan = recording.plan();
  Buffer<std::byte> memory(device, plan.arena_bytes);
  Arena arena(plan, memory.data());

  StepScalars host_scalars;
  host_scalars.state.loss_scale = loss_scale;
  Stream stream(device, StreamRole::compute);  // after all that its work refers to
  stream.copy(scalars.data(), &host_scalars, sizeof host_scalars);
  stream.zero(grads.view());  // the padding
  param_tensor.upload(params, stream);
  stager.upload(batch, stream, kWait);
  train({.table = &backend.table, .stream = &stream}, arena);
  grads.download(stream);
  sums.download(stream);
  stream.synchronize(kWait);

  const Vec totals = sums.values();
  ModelPass result{grads.values(), totals[kLossSum] / totals[kCountedTargets]};
  for (double& g : result.grads) g /= double(loss_scale);
  return result;
}

Vec initial_params(const Model& model) {
  std::vector<float> params(size_t(model.layout().flat_elements()));
  ThreadPool pool({});
  init_params(model.layout(), params, 1, pool);
  return {params.begin(), params.end()};
}

Vec scrambled_params(const Model& model) {
  Vec params = initial_params(model);
  std::mt19937 random(11);
  std::normal_distribution<double> normal(0.0, 0.2);
  for (const Param& p : model.layout().params())
    for (const size_t at : live_elements(p)) params[at] += normal(random);
  return params;
}

}  // namespace ddp::test
