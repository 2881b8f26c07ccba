#include "tests/cuda_sim/api/cudnn_convolution.h"

#include <cstring>
#include <vector>

#include "tests/cuda_sim/api/elements.h"
#include "tests/cuda_sim/api/memory.h"

namespace ddp::sim {
namespace {

std::vector<float> load(const Convolution& c, const void* data, const Image& image) {
  note_access(data, size_t(image.size()) * dtype_bytes(c.type), /*write=*/false);
  std::vector<float> out(size_t(image.size()));
  for (size_t i = 0; i < out.size(); ++i) {
    const float value = read(data, c.type, int64_t(i));
    out[i] = c.tf32 ? to_tf32(value) : value;
  }
  return out;
}

void store(const Convolution& c, void* data, const std::vector<float>& values) {
  note_access(data, values.size() * dtype_bytes(c.type), /*write=*/true);
  for (size_t i = 0; i < values.size(); ++i) write(data, c.type, int64_t(i), values[i]);
}

// f(x, w, y) of the places of the three at each tap of a window that lies inside x; channels are behind each place.
template <class F>
void for_each_tap(const Convolution& c, F f) {
  for (int64_t n = 0; n < c.y.n; ++n)
    for (int64_t p = 0; p < c.y.h; ++p)
      for (int64_t q = 0; q < c.y.w; ++q)
        for (int64_t r = 0; r < c.w.h; ++r)
          for (int64_t s = 0; s < c.w.w; ++s) {
            const int64_t h = p * c.stride + r - c.padding, w = q * c.stride + s - c.padding;
            if (h < 0 || h >= c.x.h || w < 0 || w >= c.x.w) continue;
            f(((n * c.x.h + h) * c.x.w + w) * c.x.c, (r * c.w.w + s) * c.x.c, ((n * c.y.h + p) * c.y.w + q) * c.y.c);
          }
}

}  // namespace

void convolve(const Convolution& c) {
  if (c.workspace_bytes > 0) {
    note_access(c.workspace, c.workspace_bytes, /*write=*/true);
    std::memset(c.workspace, 0xff, c.workspace_bytes);
  }
  const int64_t channels = c.x.c, outputs = c.y.c, filter = c.w.h * c.w.w * channels;
  const auto add = [](float* to, float factor, const float* from, int64_t n) {
    for (int64_t i = 0; i < n; ++i) to[i] += factor * from[i];
  };
  switch (c.kind) {
    case Convolution::Kind::forward: {
      const std::vector<float> x = load(c, c.x_data, c.x), w = load(c, c.w_data, c.w);
      std::vector<float> by_output(w.size()), y(size_t(c.y.size()));  // by_output: (R,S,C,K)
      for (int64_t k = 0; k < outputs; ++k)
        for (int64_t i = 0; i < filter; ++i) by_output[size_t(i * outputs + k)] = w[size_t(k * filter + i)];
      for_each_tap(c, [&](int64_t x_at, int64_t w_at, int64_t y_at) {
        for (int64_t i = 0; i < channels; ++i)
          add(&y[size_t(y_at)], x[size_t(x_at + i)], &by_output[size_t((w_at + i) * outputs)], outputs);
      });
      return store(c, c.y_data, y);
    }
    case Convolution::Kind::backward_input: {
      const std::vector<float> dy = load(c, c.y_data, c.y), w = load(c, c.w_data, c.w);
      std::vector<float> dx(size_t(c.x.size()));
      for_each_tap(c, [&](int64_t x_at, int64_t w_at, int64_t y_at) {
        for (int64_t k = 0; k < outputs; ++k)
          add(&dx[size_t(x_at)], dy[size_t(y_at + k)], &w[size_t(k * filter + w_at)], channels);
      });
      return store(c, c.x_data, dx);
    }
    case Convolution::Kind::backward_weight: {
      const std::vector<float> dy = load(c, c.y_data, c.y), x = load(c, c.x_data, c.x);
      std::vector<float> dw(size_t(c.w.size()));
      for_each_tap(c, [&](int64_t x_at, int64_t w_at, int64_t y_at) {
        for (int64_t k = 0; k < outputs; ++k)
          add(&dw[size_t(k * filter + w_at)], dy[size_t(y_at + k)], &x[size_t(x_at)], channels);
      });
      return store(c, c.w_data, dw);
    }
  }
}

}  // namespace ddp::sim
