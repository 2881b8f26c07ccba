// The end of a step: norm and clip factor from the partial sums in one block, then the update in one pass over the flat
// buffers, a block a chunk.
#include "kernels/cuda/warp.cuh"

#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/run.h"
#include "kernels/ops/step.h"

namespace ddp::cuda {
namespace {

constexpr int kFinalizeThreads = 256, kUpdateThreads = 256;

// ---- step_finalize ----

struct Finalize {
  StepScalars* scalars;
  StepMetrics* metrics;
  const double *partials, *statistics;  // (num_chunks), (num_statistics)
  const LearningRates* rates;
  int64_t num_chunks, num_statistics;
  StepEvidence step;  // what is known before
  StepRule rule;
};

struct FinalizeShared {
  BlockScratch<double> squares;
  BlockScratch<int64_t> places;
};

// By one thread.
__device__ void finish_step(const Finalize& a, const StepEvidence& step) {
  StepScalars s = *a.scalars;
  const float loss_scale = s.state.loss_scale;
  // Without a rate nothing sensible can follow: the NaN shows in the next loss.
  const float* lr = a.rates->find(s.state.applied_steps);
  decide_update(s, step, lr != nullptr ? *lr : NAN, a.rule);
  *a.metrics = step_metrics(loss_scale, s, step, a.rule);
  *a.scalars = s;
}

// The place of the first of n numbers that is not finite, for every thread of the block; -1: none.
__device__ int64_t first_bad(const double* x, int64_t n, FinalizeShared& shared) {
  int64_t place = INT64_MAX;
  for (int64_t i = threadIdx.x; i < n; i += kFinalizeThreads)
    if (!isfinite(x[i])) place = min(place, i);
  place = block_min(place, shared.places);
  return place == INT64_MAX ? -1 : place;
}

__global__ void __launch_bounds__(kFinalizeThreads) finalize(Finalize a) {
  auto& shared = shared_memory<FinalizeShared>();
  double squares = 0.0;
  for (int64_t chunk = threadIdx.x; chunk < a.num_chunks; chunk += kFinalizeThreads) squares += a.partials[chunk];
  StepEvidence step = a.step;
  step.root = sqrt(block_sum(squares, shared.squares));
  step.first_bad_chunk = first_bad(a.partials, a.num_chunks, shared);
  step.first_bad_statistic = first_bad(a.statistics, a.num_statistics, shared);
  if (threadIdx.x == 0) finish_step(a, step);
}

// ---- the update ----

// By one thread.
__global__ void __launch_bounds__(1)
    correct(double* powers, AdamWCorrection* correction, const StepScalars* scalars, float beta1, float beta2) {
  if (scalars->skips()) return;
  powers[0] *= beta1, powers[1] *= beta2;
  *correction = {.step_size = float(double(scalars->lr) / (1.0 - powers[0])),
                 .rsqrt_bias2 = float(1.0 / sqrt(1.0 - powers[1]))};
}

// A rule of update has `factors`, what is the same for all elements of a chunk with this decay, and `update`: the new
// values of elements [i, i + W) in the place of p, from their gradients g.
struct AdamWRule {
  float *m, *v;
  const AdamWCorrection* correction;
  float beta1, beta2, eps, weight_decay;

  struct Factors {
    float grad_scale;
    AdamWCorrection correction;
    float keep;  // 1 - lr * weight decay
  };
  __device__ Factors factors(const StepScalars& s, float decay) const {
    return {s.grad_scale, *correction, 1.0f - s.lr * weight_decay * decay};
  }

  template <int W>
  __device__ __forceinline__ void update(const Factors& f, int64_t i, Pack<W>& p, const Pack<W>& g) const {
    Pack<W> m_i = load<W>(m + i), v_i = load<W>(v + i);
#pragma unroll
    for (int j = 0; j < W; ++j) {
      const float gj = g.x[j] * f.grad_scale;
      float &mj = m_i.x[j], &vj = v_i.x[j];
      mj = mj * beta1 + gj * (1.0f - beta1);
      vj = vj * beta2 + gj * gj * (1.0f - beta2);
      p.x[j] = p.x[j] * f.keep - f.correction.step_size * mj / (sqrtf(vj) * f.correction.rsqrt_bias2 + eps);
    }
    store<W>(m + i, m_i), store<W>(v + i, v_i);
  }
};

struct SgdRule {
  float* m;  // nullptr: no momentum
  float momentum, weight_decay;
  bool nesterov;

  struct Factors {
    float grad_scale, lr, decay;
  };
  __device__ Factors factors(const StepScalars& s, float decay) const {
    return {s.grad_scale, s.lr, weight_decay * decay};
  }

  template <int W>
  __device__ __forceinline__ void update(const Factors& f, int64_t i, Pack<W>& p, const Pack<W>& g) const {
    Pack<W> m_i = {};
    if (m != nullptr) m_i = load<W>(m + i);
#pragma unroll
    for (int j = 0; j < W; ++j) {
      const float gj = g.x[j] * f.grad_scale + p.x[j] * f.decay;
      float& mj = m_i.x[j];
      mj = mj * momentum + gj;
      p.x[j] -= f.lr * (nesterov ? gj + momentum * mj : mj);
    }
    if (m != nullptr) store<W>(m + i, m_i);
  }
};

// What is updated.
template <class G, class R>
struct Flat {
  float* p;
  const G* g;
  R* rounded;  // nullptr: p itself is what is read
  const int64_t* chunk_begin;
  const float* chunk_decay;
  const StepScalars* scalars;
  bool aligned;  // all buffers start on 16 bytes
};

// Elements [at, at + n) of the buffers.
template <int W, class G, class R, class Rule>
__device__ __forceinline__ void update_chunk(const Flat<G, R>& a, const Rule& rule, const typename Rule::Factors& f,
                                             int64_t at, int64_t n) {
  for (int64_t i = at + threadIdx.x * W; i < at + n; i += kUpdateThreads * W) {
    Pack<W> p = load<W>(a.p + i);
    rule.update(f, i, p, load<W>(a.g + i));
    store<W>(a.p + i, p);
    if (a.rounded != nullptr) store<W>(a.rounded + i, p);
  }
}

// Four elements at once whatever G and R: 16 bytes of each f32 buffer, and of those there are one to four.
template <class G, class R, class Rule>
__global__ void __launch_bounds__(kUpdateThreads) update_chunks(Flat<G, R> a, Rule rule) {
  const StepScalars s = *a.scalars;
  if (s.skips()) return;
  const int64_t chunk = blockIdx.x, at = a.chunk_begin[chunk] - a.chunk_begin[0];
  const int64_t n = a.chunk_begin[chunk + 1] - a.chunk_begin[chunk];
  const typename Rule::Factors f = rule.factors(s, a.chunk_decay[chunk]);
  if (a.aligned && at % 4 == 0 && n % 4 == 0)
    update_chunk<4>(a, rule, f, at, n);
  else
    update_chunk<1>(a, rule, f, at, n);
}

// Args: as AdamW. is_aligned: the rule's buffers start on 16 bytes.
template <class Args, class Rule>
void run_update(Stream& stream, const char* name, const Args& a, const Rule& rule, bool is_aligned) {
  const auto run_typed = [&]<class G, class R>(G, R) {
    const Flat<G, R> flat = {.p = a.p.template as<float>(),
                             .g = a.g.template as<G>(),
                             .rounded = a.rounded ? a.rounded.template as<R>() : nullptr,
                             .chunk_begin = a.chunk_begin.template as<int64_t>(),
                             .chunk_decay = a.chunk_decay.template as<float>(),
                             .scalars = a.scalars,
                             .aligned = is_aligned && aligned16({a.p.data, a.g.data, a.rounded.data})};
    launch(stream, {name, blocks(a.chunk_decay.numel()), kUpdateThreads}, update_chunks<G, R, Rule>, flat, rule);
  };
  with_storage(a.g.dtype,
               [&](auto g) { a.rounded.dtype == DType::bf16 ? run_typed(g, bfloat16{}) : run_typed(g, half{}); });
}

}  // namespace

template <>
void run(Stream& stream, const StepFinalize& a) {
  const Finalize f = {.scalars = a.scalars,
                      .metrics = a.metrics,
                      .partials = a.partials.as<double>(),
                      .statistics = a.statistics ? a.statistics.as<double>() : nullptr,
                      .rates = a.rates,
                      .num_chunks = a.partials.numel(),
                      .num_statistics = a.statistics ? a.statistics.numel() : 0,
                      .step = {.sums = a.sums.as<double>(), .num_ranks = a.num_ranks},
                      .rule = a.rule};
  launch(stream, {"step_finalize", 1, kFinalizeThreads, sizeof(FinalizeShared)}, finalize, f);
}

template <>
void run(Stream& stream, const AdamWCorrect& a) {
  launch(stream, {"adamw_correct", 1, 1}, correct, a.powers.as<double>(), a.correction, a.scalars, a.beta1, a.beta2);
}

template <>
void run(Stream& stream, const AdamW& a) {
  const AdamWRule rule = {.m = a.m.as<float>(),
                          .v = a.v.as<float>(),
                          .correction = a.correction,
                          .beta1 = a.beta1,
                          .beta2 = a.beta2,
                          .eps = a.eps,
                          .weight_decay = a.weight_decay};
  run_update(stream, "adamw", a, rule, aligned16({a.m.data, a.v.data}));
}

template <>
void run(Stream& stream, const Sgd& a) {
  const SgdRule rule = {.m = a.m ? a.m.as<float>() : nullptr,
                        .momentum = a.momentum,
                        .weight_decay = a.weight_decay,
                        .nesterov = a.nesterov};
  run_update(stream, "sgd", a, rule, aligned16({a.m.data}));
}

}  // namespace ddp::cuda
