// What a model's pass adds up beside gradients, in f64: the one place that knows the order and the names. A loss is a
// sum and a count, so that padding, masked positions and uneven batches weigh what they hold.
#pragma once

#include <string_view>

namespace ddp {

// A target below 0 is in none of them.
enum LossSum : int {
  kLossSum,               // of the losses
  kCountedTargets,        // how many losses these are
  kNumTrainSums,          // a training pass has these two
  kTop1 = kNumTrainSums,  // targets that rank first among the logits, as torch.topk ranks
  kTop5,                  // targets that are among the first five
  kNumEvalSums
};

// What sum / kCountedTargets is called in metrics.jsonl; nothing for the count itself.
constexpr std::string_view loss_sum_name(int sum) {
  switch (sum) {
    case kLossSum:
      return "loss";
    case kTop1:
      return "top1";
    case kTop5:
      return "top5";
    default:
      return {};
  }
}

}  // namespace ddp
