#include <catch2/catch.hpp>
#include <cmath>

#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

struct Image {
  int64_t n, h, w, c;
  int64_t size() const { return n * h * w * c; }
  Shape shape() const { return {n, h, w, c}; }
};
const Image kImages[] = {{1, 1, 1, 1}, {3, 5, 4, 7}, {2, 7, 7, 64}, {2, 6, 9, 33}, {1, 4, 3, 1100}};

TEST_CASE("normalise_images: by channel, the rest filled with zeros") {
  for (const DType type : storage_types())
    for (const Image& image : {Image{1, 1, 1, 1}, Image{2, 5, 7, 3}, Image{1, 3, 33, 4}})
      for (const int64_t padded : {image.c, int64_t(4), int64_t(8), int64_t(33)}) {
        CAPTURE(dtype_name(type), image.h, image.w, image.c, padded);
        std::vector<uint8_t> x;
        for (int64_t i = 0; i < image.size(); ++i) x.push_back(uint8_t(i * 37 + 255));
        const std::array<float, kMaxImageChannels> mean = {0.485f, 0.456f, 0.406f, 0.0f},
                                                   deviation = {0.229f, 0.224f, 0.225f, 1.0f};
        const Outputs got = in_every_setting([&](Run& run) {
          normalise_images(run.exec(), {.y = run.output({image.n, image.h, image.w, padded}, type),
                                        .x = view(x, image.shape()),
                                        .mean = mean,
                                        .deviation = deviation});
        });
        Vec want;
        for (size_t i = 0; i < x.size(); i += size_t(image.c))
          for (size_t c = 0; c < size_t(padded); ++c)
            want.push_back(c < size_t(image.c) ? (double(x[i + c]) / 255.0 - double(mean[c])) / double(deviation[c])
                                               : 0.0);
        check_close(got.values(0, type), want, 2e-7, 4.0, type);
        for (size_t i = 0; i < want.size(); ++i)
          if (int64_t(i) % padded >= image.c) CHECK(got.values(0, type)[i] == 0.0f);
      }
}

// f(element of x, element of y) for the positions that are kept.
template <class F>
void for_kept(const Image& x, int64_t stride, F f) {
  size_t to = 0;
  for (int64_t n = 0; n < x.n; ++n)
    for (int64_t h = 0; h < x.h; h += stride)
      for (int64_t w = 0; w < x.w; w += stride)
        for (int64_t c = 0; c < x.c; ++c) f(size_t(((n * x.h + h) * x.w + w) * x.c + c), to++);
}

TEST_CASE("subsample: every stride-th position, and its gradient") {
  for (const DType type : storage_types())
    for (const Image& image : kImages)
      for (const int64_t stride : {1, 2, 3}) {
        CAPTURE(dtype_name(type), image.h, image.w, image.c, stride);
        const Shape small{image.n, (image.h - 1) / stride + 1, (image.w - 1) / stride + 1, image.c};
        const Stored x(type, randoms(1, image.size())), dy(type, randoms(2, small.numel()));
        const Outputs got = in_every_setting([&](Run& run) {
          subsample_forward(run.exec(), {.y = run.output(small, type), .x = x.view(image.shape()), .stride = stride});
          subsample_backward(run.exec(),
                             {.dx = run.output(image.shape(), type), .dy = dy.view(small), .stride = stride});
        });
        Floats y(size_t(small.numel())), dx(size_t(image.size()), 0.0f);
        const Floats from = x.values(), gradient = dy.values();
        for_kept(image, stride, [&](size_t large, size_t kept) { y[kept] = from[large], dx[large] = gradient[kept]; });
        CHECK(got.values(0, type) == y);
        CHECK(got.values(1, type) == dx);
      }
}

TEST_CASE("average_pool: the mean over positions, and its gradient") {
  for (const DType type : storage_types())
    for (const Image& image : kImages) {
      CAPTURE(dtype_name(type), image.h, image.w, image.c);
      const Stored x(type, randoms(1, image.size())), dy(type, randoms(2, image.n * image.c));
      const Outputs got = in_every_setting([&](Run& run) {
        average_pool_forward(run.exec(), {.y = run.output({image.n, image.c}, type), .x = x.view(image.shape())});
        average_pool_backward(run.exec(), {.dx = run.output(image.shape(), type), .dy = dy.view({image.n, image.c})});
      });
      Vec y(size_t(image.n * image.c), 0.0), dx;
      const double positions = double(image.h * image.w);
      const Vec from = x.wide(), gradient = dy.wide();
      for (size_t i = 0; i < from.size(); ++i) {
        const size_t kept = i / size_t(image.h * image.w * image.c) * size_t(image.c) + i % size_t(image.c);
        y[kept] += from[i] / positions;
        dx.push_back(gradient[kept] / positions);
      }
      check_close(got.values(0, type), y, 1e-6, 1.0, type);
      check_close(got.values(1, type), dx, 2e-7, 0.0, type);
    }
}

}  // namespace
}  // namespace ddp::test
