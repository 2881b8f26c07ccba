#include <fmt/core.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/fs.h"
#include "runtime/base/number.h"
#include "runtime/base/philox.h"
#include "tests/toy/toy.h"

namespace ddp::toy {
namespace {

constexpr uint32_t kCentre = 1, kNoise = 2;  // streams of draws

class Clouds final : public DataSource {
 public:
  Clouds(int64_t num_samples, const SourceRequest& request)
      : DataSource(request.split, request.seed),
        num_samples_(num_samples),
        classes_(request.batch.find("label")->input.limit) {}

  int64_t num_samples() const override { return num_samples_; }
  std::string fingerprint() const override { return fmt::format("{} samples", num_samples_); }

 private:
  static double normal(uint32_t seed, uint32_t stream, int64_t a, int64_t b) {
    const Philox4 r = philox(seed, stream, uint32_t(a), uint32_t(b), 0, 0);
    const double u = (double(r.word[0]) + 1.0) * 0x1p-32, angle = 2.0 * std::numbers::pi * double(r.word[1]) * 0x1p-32;
    return std::sqrt(-2.0 * std::log(u)) * std::cos(angle);
  }
  // The same points in every epoch; other noise in each epoch of training.
  void fill_sample(HostBatch& batch, int64_t i, const Draw& draw) const override {
    const int64_t label = draw.sample % classes_;
    const std::span<float> features = batch.sample<float>("features", i);
    for (size_t f = 0; f < features.size(); ++f)
      features[f] = float(2.0 * normal(7, kCentre, label, int64_t(f)) +
                          normal(uint32_t(draw.epoch), kNoise, draw.sample, int64_t(f)));
    batch.sample<int32_t>("label", i)[0] = draw.sample % 10 == 9 ? -1 : int32_t(label);
  }

  int64_t num_samples_, classes_;
};

std::unique_ptr<DataSource> open_clouds(const SourceRequest& request) {
  const std::optional<int64_t> n = parse_number<int64_t>(read_text(request.path()));
  if (!n || *n < 1) throw Error(ExitCode::data, request.path().string() + " holds no number of samples");
  return std::make_unique<Clouds>(*n, request);
}

}  // namespace

SourceMakers source_makers() {
  static const std::vector<SourceMaker> makers = [] {
    std::vector<SourceMaker> all(ddp::source_makers().begin(), ddp::source_makers().end());
    static constexpr std::string_view kInputs[] = {"features", "label"};
    all.push_back({"clouds", open_clouds, kInputs});
    return all;
  }();
  return makers;
}

}  // namespace ddp::toy
