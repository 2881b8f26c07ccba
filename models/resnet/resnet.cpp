#include "models/resnet/resnet.h"

#include <string>
#include <utility>

#include "models/layers/pixels.h"
#include "models/layers/summed_grad.h"

namespace ddp::resnet {
namespace {

constexpr double kHeadSigma = 0.01;    // of the classifier's initial weights (Goyal et al., 2017)
constexpr int64_t kLogitsRows = 1024;  // at once: a micro-batch, mostly

// Convolutions lie as KRSC and are saved as KCRS, PyTorch's order. Its buffers that count batches are nobody's here.
// Weights of another number of classes get a new classifier.
SavedNames saved_names(const ParamLayout& layout) {
  SavedNames names{.buffers = {{".num_batches_tracked"}}, .may_start_anew = {"fc.weight", "fc.bias"}};
  for (const Param& p : layout.params())
    if (p.shape.rank == 4) names.parts.push_back({.saved = p.name, .param = p.name, .permutation = {0, 3, 1, 2}});
  return names;
}

}  // namespace

ResNet::ResNet(const Options& options, int64_t pixel_channels)
    : options_(options), pixel_channels_(pixel_channels), inputs_(image_inputs(options.image)) {
  stem_.conv.channels = options.width;
  stem_.conv.size = options.stem == Stem::imagenet ? 7 : 3;
  stem_.conv.window = {.stride = options.stem == Stem::imagenet ? 2 : 1, .padding = stem_.conv.size / 2};

  std::vector<std::string> names;
  int64_t in = options.width;
  for (size_t stage = 0; stage < options.blocks.size(); ++stage)
    for (int64_t i = 0; i < options.blocks[stage]; ++i) {
      const int64_t stride = stage > 0 && i == 0 ? 2 : 1;
      in = blocks_.emplace_back(options.block, in, options.width << stage, stride, options.recompute).out_channels();
      names.push_back(fmt::format("layer{}.{}", stage + 1, i));
    }
  // Backward order.
  head_.bias = layout_.add("fc.bias", {options.image.classes}, /*decay=*/false);
  head_.weight = layout_.add("fc.weight", {options.image.classes, in}, /*decay=*/true, Init::normal(kHeadSigma));
  head_.live_columns = options.image.classes;
  head_.label_smoothing = float(options.image.label_smoothing);
  head_.rows_at_once = kLogitsRows;
  for (size_t i = blocks_.size(); i-- > 0;) blocks_[i].declare(layout_, state_layout_, names[i]);
  stem_.norm.declare(layout_, state_layout_, "bn1", options.width);
  stem_.conv.declare(layout_, "conv1", pixel_channels, options.image.channels);
  layout_.set_saved_names(saved_names(layout_));
}

ArenaTensor ResNet::stem_forward(const Pass& pass, StemSaved& saved, const TensorView& image) const {
  {
    const ArenaTensor x =
        pixels(pass, options_.image, image, pixel_channels_);  // again in backward: cheaper than its memory
    saved.conv = pass.take(stem_.conv.output(x.view().shape), "stem");
    stem_.conv.forward(pass, saved.conv, x);
  }
  saved.statistics = stem_.norm.measure(pass, saved.conv);
  if (options_.stem == Stem::small) {
    ArenaTensor out = pass.take(saved.conv.view().shape, "stem relu");
    stem_.norm.apply(pass, out, saved.conv, saved.statistics, {.relu = true});
    return out;
  }
  const Shape pooled = pooled_shape(saved.conv.view().shape);
  ArenaTensor out = pass.take(pooled, "pooled");
  if (pass.trains()) saved.index = pass.arena.take(pooled, "pool index", DType::u8);
  batchnorm_pool(
      pass.exec,
      {.y = out, .index = saved.index, .x = saved.conv, .affine = stem_.norm.affine(pass, saved.statistics)});
  return out;
}

void ResNet::stem_backward(const Pass& pass, StemSaved saved, const TensorView& image, ArenaTensor dout) const {
  const TensorView dconv = saved.conv;  // in the place of what was normalised
  if (options_.stem == Stem::small)
    stem_.norm.backward(pass, {.dx = dconv, .dy = dout, .x = dconv, .relu = true}, saved.statistics);
  else
    stem_.norm.pool_backward(pass, {.dx = dconv, .dy = dout, .index = saved.index, .x = dconv}, saved.statistics);
  dout.release();
  saved.index.release();
  stem_.conv.backward_weight(pass, pixels(pass, options_.image, image, pixel_channels_), dconv);
}

ArenaTensor ResNet::averaged(const Pass& pass, const TensorView& x) const {
  ArenaTensor y = pass.take({x.dim(0), x.dim(3)}, "mean");
  average_pool_forward(pass.exec, {.y = y, .x = x});
  return y;
}

void ResNet::train(const Exec& exec, Arena& arena, const TrainPass& args) const {
  const Pass pass = Pass::of(exec, arena, *this, args);
  const TensorView image = args.batch["image"];
  StemSaved stem;
  std::vector<BlockSaved> saved(blocks_.size());
  std::vector<ArenaTensor> outs;  // of the stem and of each block
  outs.push_back(stem_forward(pass, stem, image));
  for (size_t i = 0; i < blocks_.size(); ++i) outs.push_back(blocks_[i].forward(pass, saved[i], outs[i]));

  ArenaTensor grad = pass.take({outs.back().view().dim(0), outs.back().view().dim(3)}, "dmean");
  {
    const ArenaTensor mean = averaged(pass, outs.back());
    SummedGrad dw(pass, head_.weight), db(pass, head_.bias);
    head_.forward_backward(pass, {.dx = grad, .dw = dw.view(), .db = db.view()}, mean, args.batch["label"],
                           {args.grad_scale, args.loss_scale});
    db.finish();
    pass.announce(head_.bias);
    dw.finish();
    pass.announce(head_.weight);
  }
  {
    ArenaTensor dout = pass.take(outs.back().view().shape, "dblock");
    average_pool_backward(exec, {.dx = dout, .dy = grad});
    grad = std::move(dout);
  }
  for (size_t i = blocks_.size(); i-- > 0;)
    grad = blocks_[i].backward(pass, std::move(saved[i]), outs[i], std::move(outs[i + 1]), std::move(grad));
  outs.clear();
  stem_backward(pass, std::move(stem), image, std::move(grad));
}

void ResNet::evaluate(const Exec& exec, Arena& arena, const EvalPass& args) const {
  const Pass pass = Pass::of(exec, arena, *this, args);
  ArenaTensor x;
  {
    StemSaved stem;
    x = stem_forward(pass, stem, args.batch["image"]);
  }
  for (const Block& block : blocks_) {
    BlockSaved saved;
    x = block.forward(pass, saved, x);
  }
  const ArenaTensor mean = averaged(pass, x);
  head_.forward(pass, mean, args.batch["label"]);
}

}  // namespace ddp::resnet
