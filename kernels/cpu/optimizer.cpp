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

// The first chunk whose partial is not finite; -1: none.
int64_t first_bad_chunk(const TensorView& partials) {
  const double* begin = partials.as<double>();
  const double* end = begin + partials.numel();
  const double* bad = std::find_if(begin, end, [](double x) { return !std::isfinite(x); });
  return bad == end ? -1 : bad - begin;
}

void run(ThreadPool&, const FindNonFinite& a) { *a.mark.as<double>() = double(first_bad_chunk(a.partials) + 1); }

void run(ThreadPool&, const StepFinalize& a) {
  StepScalars& s = *a.scalars;
  const float loss_scale = s.state.loss_scale;
  const double *partials = a.partials.as<double>(), *loss_votes = a.loss_votes.as<double>();
  const double squares = std::accumulate(partials, partials + a.partials.numel(), 0.0);
  const float* lr = a.rates->find(s.state.applied_steps);
  DDP_CHECK(lr != nullptr, "learning rates from {} applied steps on, {} are", a.rates->first_applied,
            s.state.applied_steps);
  const double root = std::sqrt(squares);
  decide_update(s, loss_votes[kLossSum], root, *lr, a.rule);
  *a.metrics =
      step_metrics(loss_scale, s, root, first_bad_chunk(a.partials), loss_votes, a.loss_votes.numel() - kFirstMark);
}

void run(ThreadPool&, const AdamWCorrect& a) {
  if (a.scalars->skip) return;
  double* powers = a.powers.as<double>();
  powers[0] *= a.beta1, powers[1] *= a.beta2;
  *a.correction = {.step_size = float(double(a.scalars->lr) / (1.0 - powers[0])),
                   .rsqrt_bias2 = float(1.0 / std::sqrt(1.0 - powers[1]))};
}

// What is the same for all elements of a chunk.
struct AdamWFactors {
  float beta1, beta2, eps, grad_scale, step_size, rsqrt_bias2;
  float keep;  // 1 - lr * weight decay
};

// rounded: the copy of p in another type, or p itself where there is none.
template <class S, class G>
void update_chunk(float* p, float* m, float* v, S* rounded, const G* g, int64_t n, const AdamWFactors& f) {
  for (int64_t i = 0; i < n; i += kVecWidth) {
    const int64_t rest = n - i;
    const v16 gi = load(g + i, rest) * f.grad_scale;
    const v16 mi = load(m + i, rest) * f.beta1 + gi * (1.0f - f.beta1);
    const v16 vi = load(v + i, rest) * f.beta2 + gi * gi * (1.0f - f.beta2);
    const v16 pi = load(p + i, rest) * f.keep - f.step_size * mi / (sqrtv(vi) * f.rsqrt_bias2 + f.eps);
    store(m + i, mi, rest);
    store(v + i, vi, rest);
    store(p + i, pi, rest);
    if constexpr (!std::is_same_v<S, float>) store(rounded + i, pi, rest);
  }
}

// S: of the parameters that the model reads, G: of the gradient.
template <class S, class G>
void run(ThreadPool& pool, const AdamW& a) {
  const StepScalars s = *a.scalars;
  if (s.skip) return;
  const AdamWCorrection correction = *a.correction;
  const int64_t chunks = a.chunk_decay.numel();
  const int64_t* begin = a.chunk_begin.as<int64_t>();
  const float* decay = a.chunk_decay.as<float>();
  const G* g = a.g.as<G>();
  float *p = a.p.as<float>(), *m = a.m.as<float>(), *v = a.v.as<float>();
  S* rounded = (a.rounded ? a.rounded : a.p).as<S>();
  pool.parallel_for(ceil_div(chunks, kChunks), [=](int64_t block) {
    for (int64_t chunk = block * kChunks; chunk < std::min(chunks, (block + 1) * kChunks); ++chunk) {
      const int64_t at = begin[chunk] - begin[0];
      const AdamWFactors f = {a.beta1,
                              a.beta2,
                              a.eps,
                              s.grad_scale,
                              correction.step_size,
                              correction.rsqrt_bias2,
                              1.0f - s.lr * a.weight_decay * decay[chunk]};
      update_chunk(p + at, m + at, v + at, rounded + at, g + at, begin[chunk + 1] - begin[chunk], f);
    }
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
  cpu_enqueue(stream, [a](ThreadPool& pool) {
    with_storage(a.rounded ? a.rounded.dtype : DType::f32, [&](auto s) {
      with_grad<decltype(s)>(a.g.dtype, [&](auto g) { run<decltype(s), decltype(g)>(pool, a); });
    });
  });
}

}  // namespace ddp::cpu
