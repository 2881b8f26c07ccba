#include "runtime/optim/adamw.h"

#include "runtime/optim/lr_schedule.h"

namespace ddp {

AdamWOptimizer::AdamWOptimizer(Device& device, const ParamLayout& layout, const OptimizerOptions& options,
                               Stream& stream)
    : options_(options),
      m_(device, layout.flat_elements()),
      v_(device, layout.flat_elements()),
      chunk_decay_(device, layout.num_chunks()),
      lr_table_(device, options.steps),
      scalars_(device, sizeof(StepScalars)) {
  const std::vector<float> lr = learning_rate_table(options.schedule, options.optimizer.lr, options.steps);
  StepScalars scalars;
  scalars.loss_scale = options.loss_scale;
  stream.zero(m_.view());
  stream.zero(v_.view());
  stream.copy(chunk_decay_.data(), layout.chunk_decay().data(), chunk_decay_.bytes());
  stream.copy(lr_table_.data(), lr.data(), lr_table_.bytes());
  stream.copy(scalars_.data(), &scalars, sizeof scalars);
  stream.synchronize(no_deadline(0));
}

void AdamWOptimizer::step(const Exec& exec, const Parameters& params, const ReducedGradients& gradients,
                          StepMetrics* metrics) {
  const auto [beta1, beta2] = options_.optimizer.betas;
  step_finalize(exec, {.scalars = scalars(),
                       .metrics = metrics,
                       .partials = gradients.partials,
                       .loss_votes = gradients.loss_votes,
                       .lr_table = lr_table_.view(),
                       .clip_norm = options_.clip_norm,
                       .beta1 = beta1,
                       .beta2 = beta2,
                       .scaling = options_.scaling});
  adamw(exec, {.p = params.master,
               .m = m_.view(),
               .v = v_.view(),
               .g = gradients.flat,
               .chunk_begin = gradients.chunk_begin,
               .chunk_decay = chunk_decay_.view(),
               .rounded = params.rounded,
               .scalars = scalars(),
               .beta1 = float(beta1),
               .beta2 = float(beta2),
               .eps = float(options_.optimizer.eps),
               .weight_decay = float(options_.optimizer.weight_decay)});
}

std::vector<OptimizerState> AdamWOptimizer::state() const {
  return {{"exp_avg", m_.view()}, {"exp_avg_sq", v_.view()}};
}

int64_t AdamWOptimizer::bytes() const {
  return m_.bytes() + v_.bytes() + chunk_decay_.bytes() + lr_table_.bytes() + scalars_.bytes();
}

std::unique_ptr<Optimizer> make_optimizer(Device& device, const ParamLayout& layout, const OptimizerOptions& options,
                                          Stream& stream) {
  DDP_CHECK(options.optimizer.name == "adamw", "optimizer {}", options.optimizer.name);  // check_config knows the names
  return std::make_unique<AdamWOptimizer>(device, layout, options, stream);
}

}  // namespace ddp
