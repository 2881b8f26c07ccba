#include "tests/toy/toy.h"

#include <vector>

#include "models/layers/summed_grad.h"

namespace ddp::toy {

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

Toy::Saved Toy::forward(const Pass& pass, const Layer& layer, const TensorView& x) const {
  const Shape shape{x.dim(0), options_.width};
  Saved saved = {.products = pass.take(shape, "linear"), .y = pass.take(shape, "norm"), .statistics = {}};
  layer.linear.forward(pass, saved.products, x);
  saved.statistics = layer.norm.measure(pass, saved.products);
  layer.norm.apply(pass, saved.y, saved.products, saved.statistics, {.relu = true});
  return saved;
}

void Toy::backward(const Pass& pass, const Layer& layer, const TensorView& x, const Saved& saved, const TensorView& dy,
                   const TensorView& dx) const {
  layer.norm.backward(pass, {.dx = dy, .dy = dy, .x = saved.products, .y = saved.y, .relu = true}, saved.statistics);
  layer.linear.backward_weight(pass, x, dy);
  if (dx) layer.linear.backward_input(pass, dx, dy);
}

void Toy::train(const Exec& exec, Arena& arena, const TrainPass& args) const {
  const Pass pass = Pass::of(exec, arena, *this, args);
  const ArenaTensor x = stored(pass, args.batch["features"]);
  const Saved first = forward(pass, first_, x), second = forward(pass, second_, first.y);

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
  const Pass pass = Pass::of(exec, arena, *this, args);
  const ArenaTensor x = stored(pass, args.batch["features"]);
  const Saved first = forward(pass, first_, x), second = forward(pass, second_, first.y);
  head_.forward(pass, second.y, args.batch["label"]);
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
