// The end of a step: where gradients are not finite, norm and clip factor from the partial sums, then AdamW in one pass
// over the flat buffers.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/cpu/run.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/storage.h"
#include "kernels/cpu/vec.h"
#include "kernels/ops/step.h"
#include "runtime/device/cpu_device.h"

namespace ddp::cpu {
namespace {

constexpr int64_t kChunks = 4;  // of a block

// The place of the first number that is not finite; -1: none. x may be empty.
int64_t first_bad(const TensorView& x) {
  if (!x) return -1;
  const double* begin = x.as<double>();
  const double* end = begin + x.numel();
  const double* bad = std::find_if(begin, end, [](double x) { return !std::isfinite(x); });
  return bad == end ? -1 : bad - begin;
}

void run(ThreadPool&, const FindNonFinite& a) { *a.mark.as<double>() = double(first_bad(a.partials) + 1); }

void run(ThreadPool&, const StepFinalize& a) {
  StepScalars& s = *a.scalars;
  const float loss_scale = s.state.loss_scale;
  const double* partials = a.partials.as<double>();
  const StepEvidence step = {.sums = a.sums.as<double>(),
                             .num_ranks = a.num_ranks,
                             .root = std::sqrt(std::accumulate(partials, partials + a.partials.numel(), 0.0)),
                             .first_bad_chunk = first_bad(a.partials),
                             .first_bad_statistic = first_bad(a.statistics)};
  const float* lr = a.rates->find(s.state.applied_steps);
  DDP_CHECK(lr != nullptr, "learning rates from {} applied steps on, {} are", a.rates->first_applied,
            s.state.applied_steps);
  decide_update(s, step, *lr, a.rule);
  *a.metrics = step_metrics(loss_scale, s, step, a.rule);
}

void run(ThreadPool&, const AdamWCorrect& a) {
  if (a.scalars->skips()) return;
  double* powers = a.powers.as<double>();
  powers[0] *= a.beta1, powers[1] *= a.beta2;
  *a.correction = {.step_size = float(double(a.scalars->lr) / (1.0 - powers[0])),
                   .rsqrt_bias2 = float(1.0 / std::sqrt(1.0 - powers[1]))};
}

// A rule of update has `factors`, what is the same for all elements of a chunk with this decay, and `update`: the new
// values of elements [i, i + kVecWidth), of which `rest` are there, from their values p and gradients g.
struct AdamWRule {
  float *m, *v;
  AdamWCorrection correction;
  float beta1, beta2, eps, weight_decay;

  struct Factors {
    float grad_scale;
    float keep;  // 1 - lr * weight decay
  };
  Factors factors(const StepScalars& s, float decay) const {
    return {s.grad_scale, 1.0f - s.lr * weight_decay * decay};
  }

  DDP_INLINE v16 update(const Factors& f, int64_t i, int64_t rest, const v16& p, const v16& g) const {
    const v16 gi = g * f.grad_scale;
    const v16 mi = load(m + i, rest) * beta1 + gi * (1.0f - beta1);
    const v16 vi = load(v + i, rest) * beta2 + gi * gi * (1.0f - beta2);
    store(m + i, mi, rest);
    store(v + i, vi, rest);
    return p * f.keep - correction.step_size * mi / (sqrtv(vi) * correction.rsqrt_bias2 + eps);
  }
};

AdamWRule rule_of(const AdamW& a) {
  return {a.m.as<float>(), a.v.as<float>(), *a.correction, a.beta1, a.beta2, a.eps, a.weight_decay};
}

struct SgdRule {
  float* m;  // nullptr: no momentum
  float momentum, weight_decay;
  bool nesterov;

  struct Factors {
    float grad_scale, lr, decay;
  };
  Factors factors(const StepScalars& s, float decay) const { return {s.grad_scale, s.lr, weight_decay * decay}; }

  DDP_INLINE v16 update(const Factors& f, int64_t i, int64_t rest, const v16& p, const v16& g) const {
    const v16 gi = g * f.grad_scale + p * f.decay;
    if (m == nullptr) return p - f.lr * gi;
    const v16 mi = load(m + i, rest) * momentum + gi;
    store(m + i, mi, rest);
    return p - f.lr * (nesterov ? gi + momentum * mi : mi);
  }
};

SgdRule rule_of(const Sgd& a) { return {a.m ? a.m.as<float>() : nullptr, a.momentum, a.weight_decay, a.nesterov}; }

// S: of the parameters that the model reads, G: of the gradient. Args: as AdamW.
template <class S, class G, class Args>
void update(ThreadPool& pool, const Args& a) {
  const StepScalars s = *a.scalars;
  if (s.skips()) return;
  const auto rule = rule_of(a);
  const int64_t chunks = a.chunk_decay.numel();
  const int64_t* begin = a.chunk_begin.template as<int64_t>();
  const float* decay = a.chunk_decay.template as<float>();
  const G* g = a.g.template as<G>();
  float* p = a.p.template as<float>();
  S* rounded = (a.rounded ? a.rounded : a.p).template as<S>();
  pool.parallel_for(ceil_div(chunks, kChunks), [=](int64_t block) {
    for (int64_t chunk = block * kChunks; chunk < std::min(chunks, (block + 1) * kChunks); ++chunk) {
      const int64_t end = begin[chunk + 1] - begin[0];
      const auto factors = rule.factors(s, decay[chunk]);
      for (int64_t i = begin[chunk] - begin[0]; i < end; i += kVecWidth) {
        const int64_t rest = end - i;
        const v16 pi = rule.update(factors, i, rest, load(p + i, rest), load(g + i, rest));
        store(p + i, pi, rest);
        if constexpr (!std::is_same_v<S, float>) store(rounded + i, pi, rest);
      }
    }
  });
}

template <class Args>
void enqueue_update(Stream& stream, const Args& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) {
    with_storage(a.rounded ? a.rounded.dtype : DType::f32, [&](auto s) {
      with_grad<decltype(s)>(a.g.dtype, [&](auto g) { update<decltype(s), decltype(g)>(pool, a); });
    });
  });
}

}  // namespace

template <>
void run(Stream& stream, const FindNonFinite& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { run(pool, a); });
}

template <>
void run(Stream& stream, const StepFinalize& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { run(pool, a); });
}

template <>
void run(Stream& stream, const AdamWCorrect& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { run(pool, a); });
}

template <>
void run(Stream& stream, const AdamW& a) {
  enqueue_update(stream, a);
}

template <>
void run(Stream& stream, const Sgd& a) {
  enqueue_update(stream, a);
}

}  // namespace ddp::cpu
