#include "tests/toy/options.h"

#include <vector>

#include "models/options_registry.h"
#include "runtime/base/error.h"
#include "runtime/config/fields.h"

namespace ddp::toy {
namespace {

constexpr Field kModel[] = {
    {.key = "features",
     .at = option<Options, &Options::features>,
     .range = {1, 1000},
     .meaning = "numbers of a sample"},
    {.key = "width", .at = option<Options, &Options::width>, .range = {1, 1000}, .meaning = "channels of both layers"},
    {.key = "classes", .at = option<Options, &Options::classes>, .range = {2, 1000}, .meaning = "what a sample may be"},
};
constexpr Section kSections[] = {{"model", kModel}};

}  // namespace

constinit const ModelKind kKind = {
    .name = "toy",
    .sections = kSections,
    .initial_options = [] { return std::any(Options{}); },
    .resolve = [](Config&, const GivenKeys&) {},
    .check = [](const Config&) {},
    .normalises_batches = true,
    .least_micro_batch = [](const Config&) -> int64_t { return 2; },
    .counts_accuracy = true,
};

const ConfigRegistry& config_registry() {
  static const std::vector<const ModelKind*> models = [] {
    std::vector<const ModelKind*> all(ddp::config_registry().models.begin(), ddp::config_registry().models.end());
    all.push_back(&kKind);
    return all;
  }();
  static const std::vector<DataFormat> formats = [] {
    std::vector<DataFormat> all(std::begin(kDataFormats), std::end(kDataFormats));
    all.push_back({.name = "clouds"});
    return all;
  }();
  static const ConfigRegistry registry = {
      .models = models, .formats = formats, .retired = ddp::config_registry().retired};
  return registry;
}

}  // namespace ddp::toy
