#include "runtime/data/images/cifar.h"

#include <fmt/core.h>

#include "runtime/base/error.h"
#include "runtime/base/fs.h"
#include "runtime/data/images/memory_images.h"

namespace ddp {
namespace {

constexpr int64_t kSide = 32, kChannels = 3, kPlane = kSide * kSide, kPictureBytes = kPlane * kChannels;

struct Kind {
  int64_t label_bytes;  // before a picture; the last is its label
  std::span<const char*const> train, valid;
};
constexpr const char* kTrain10[] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
                                    "data_batch_5.bin"};
constexpr const char *kValid10[] = {"test_batch.bin"}, *kTrain100[] = {"train.bin"}, *kValid100[] = {"test.bin"};
constexpr Kind kCifar10{1, kTrain10, kValid10}, kCifar100{2, kTrain100, kValid100};

// Adds the records of a file.
void append(ImageSet& set, const std::filesystem::path& path, const Kind& kind, const SourceRequest& request) {
  const std::string bytes = read_text(path);
  const int64_t record = kind.label_bytes + kPictureBytes, n = int64_t(bytes.size()) / record;
  if (n == 0 || int64_t(bytes.size()) % record != 0)
    throw Error(
        ExitCode::data,
        fmt::format("{} has {} bytes, not a whole number of {}-byte records", path.string(), bytes.size(), record),
        "was it cut off, or is data.format wrong?");
  const size_t first = set.labels.size();
  set.pixels.resize((first + size_t(n)) * kPictureBytes);
  uint8_t* out = set.pixels.data() + first * kPictureBytes;
  for (int64_t i = 0; i < n; ++i) {
    const char* picture = bytes.data() + i * record + kind.label_bytes;
    set.labels.push_back(uint8_t(picture[-1]));
    for (int64_t at = 0; at < kPlane; ++at)
      for (int64_t c = 0; c < kChannels; ++c) *out++ = uint8_t(picture[c * kPlane + at]);
  }
  check_labels(std::span(set.labels).subspan(first), request, path);
}

std::unique_ptr<DataSource> open(const SourceRequest& request, const Kind& kind) {
  ImageSet set{.height = kSide, .width = kSide, .channels = kChannels};
  if (std::filesystem::is_directory(request.path()))
    for (const char* name : request.split == Split::train ? kind.train : kind.valid)
      append(set, request.path() / name, kind, request);
  else
    append(set, request.path(), kind, request);
  return std::make_unique<MemoryImages>(std::move(set), request);
}

}  // namespace

std::unique_ptr<DataSource> open_cifar10(const SourceRequest& request) { return open(request, kCifar10); }
std::unique_ptr<DataSource> open_cifar100(const SourceRequest& request) { return open(request, kCifar100); }

}  // namespace ddp
