#include "tests/toy/toy.h"

#include <vector>

#include "models/layers/summed_grad.h"

namespace ddp::toy {

void BatchNorm::declare(ParamLayout& layout, ParamLayout& state, const std::string& name, int64_t width) {
  weight = layout.add(name + ".weight", {width}, /*decay=*/false, Init::constant(1.0));
  bias = layout.add(name + ".bias", {width}, /*decay=*/false);
  mean = state.add(name + ".running_mean", {width}, /*decay=*/false);
  variance = state.add(name + ".running_var", {width}, /*decay=*/false, Init::constant(1.0));
}

Toy::Toy(const Options& options)
    : options_(options),
      inputs_{{.name = "features", .dtype = DType::f32, .sample = {options.features}},
              {.name = "label", .sample = {}, .limit = options.classes, .is_target = true}} {
  constexpr double kSigma = 0.5;
  const int64_t c = options.width;
  head_.bias = layout_.add("head.bias", {options.classes}, /*decay=*/false);
  head_.weight = layout_.add("head.weight", {options.classes, c}, /*decay=*/true, Init::normal(kSigma));
  head_.live_columns = options.classes;
  const auto declare = [&](Layer& layer, const std::string& name, int64_t in) {
    layer.norm.declare(layout_, state_layout_, name + ".norm", c);
    layer.linear.order = WeightOrder::out_in;
    layer.linear.declare(layout_, name + ".linear", in, c, kSigma);
  };
  declare(second_, "second", c);
  declare(first_, "first", options.features);
}

ArenaTensor Toy::stored(const Pass& pass, const TensorView& features) const {
  ArenaTensor x = pass.take(features.shape, "features");
  const Shape flat{features.numel()};
  cast(pass.exec, {.y = x.view().view(flat), .x = features.view(flat)});
  return x;
}

void Toy::forward(const Pass& pass, const Layer& layer, const TensorView& x, BatchNorm::Saved& saved,
                  const TensorView& statistics) const {
  const int64_t m = x.dim(0), c = options_.width;
  const BatchNorm& norm = layer.norm;
  saved.x = pass.take({m, c}, "linear");
  layer.linear.forward(pass, saved.x, x);
  saved.y = pass.take({m, c}, "norm");
  saved.mean = pass.take_wide({c}, "mean");
  saved.rstd = pass.take_wide({c}, "rstd");
  const ArenaTensor workspace = pass.arena.take({batchnorm_workspace(m, c)}, "norm workspace", DType::u8);
  batchnorm_forward(pass.exec, {.y = saved.y,
                                .mean = saved.mean,
                                .rstd = saved.rstd,
                                .mean_seen = state_layout_.view(norm.mean, statistics),
                                .variance_seen = state_layout_.view(norm.variance, statistics),
                                .x = saved.x,
                                .w = pass.param(norm.weight),
                                .b = pass.param(norm.bias),
                                .workspace = workspace,
                                .accumulate_seen = pass.accumulate});
  relu_forward(pass.exec, {.y = saved.y, .x = saved.y});
}

void Toy::backward(const Pass& pass, const Layer& layer, const TensorView& x, const BatchNorm::Saved& saved,
                   const TensorView& dy, const TensorView& dx) const {
  const int64_t m = dy.dim(0), c = options_.width;
  const BatchNorm& norm = layer.norm;
  relu_backward(pass.exec, {.dx = dy, .dy = dy, .y = saved.y});
  {
    const ArenaTensor workspace = pass.arena.take({batchnorm_workspace(m, c)}, "norm workspace", DType::u8);
    batchnorm_backward(pass.exec, {.dx = dy,
                                   .dw = pass.grad(norm.weight),
                                   .db = pass.grad(norm.bias),
                                   .dy = dy,
                                   .x = saved.x,
                                   .mean = saved.mean,
                                   .rstd = saved.rstd,
                                   .w = pass.param(norm.weight),
                                   .workspace = workspace,
                                   .accumulate = pass.accumulate});
  }
  pass.announce(norm.weight);
  pass.announce(norm.bias);
  layer.linear.backward_weight(pass, x, dy);
  if (dx) layer.linear.backward_input(pass, dx, dy);
}

void Toy::train(const Exec& exec, Arena& arena, const TrainPass& args) const {
  const Pass pass = Pass::of(exec, arena, layout_, args);
  const ArenaTensor x = stored(pass, args.batch["features"]);
  BatchNorm::Saved first, second;
  forward(pass, first_, x, first, args.statistics);
  forward(pass, second_, first.y, second, args.statistics);

  const ArenaTensor dsecond = pass.take(second.y.view().shape, "dsecond");
  {
    SummedGrad dw(pass, head_.weight), db(pass, head_.bias);
    head_.forward_backward(pass, {.dx = dsecond, .dw = dw.view(), .db = db.view()}, second.y, args.batch["label"],
                           {args.grad_scale, args.loss_scale});
    db.finish();
    pass.announce(head_.bias);
    dw.finish();
    pass.announce(head_.weight);
  }
  const ArenaTensor dfirst = pass.take(first.y.view().shape, "dfirst");
  backward(pass, second_, first.y, second, dsecond, dfirst);
  backward(pass, first_, x, first, dfirst, {});
}

void Toy::evaluate(const Exec& exec, Arena& arena, const EvalPass& args) const {
  const Pass pass = Pass::of(exec, arena, layout_, args);
  ArenaTensor x = stored(pass, args.batch["features"]);
  for (const Layer* layer : {&first_, &second_}) {
    const Shape shape{x.view().dim(0), options_.width};
    const ArenaTensor products = pass.take(shape, "linear");
    ArenaTensor y = pass.take(shape, "norm");
    layer->linear.forward(pass, products, x);
    batchnorm_evaluate(exec, {.y = y,
                              .x = products,
                              .mean = state_layout_.view(layer->norm.mean, args.state),
                              .variance = state_layout_.view(layer->norm.variance, args.state),
                              .w = pass.param(layer->norm.weight),
                              .b = pass.param(layer->norm.bias)});
    relu_forward(exec, {.y = y, .x = y});
    x = std::move(y);
  }
  head_.forward(pass, x, args.batch["label"]);
}

ModelMakers model_makers() {
  static const std::vector<ModelMaker> makers = [] {
    std::vector<ModelMaker> all(ddp::model_makers().begin(), ddp::model_makers().end());
    all.push_back({&kKind, [](const Config& config, DeviceKind) -> std::unique_ptr<Model> {
                     return std::make_unique<Toy>(options_of<Options>(config));
                   }});
    return all;
  }();
  return makers;
}

}  // namespace ddp::toy
