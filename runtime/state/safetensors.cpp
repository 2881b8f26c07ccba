#include "runtime/state/safetensors.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>

#include "runtime/base/check.h"
#include "runtime/base/error.h"
#include "runtime/base/file_kind.h"
#include "runtime/base/hash.h"
#include "runtime/base/weights_file.h"
#include "runtime/device/float16.h"

namespace ddp {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian and are read in place");

constexpr int64_t kLengthBytes = 8;
// The safetensors library's limit.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
// Hashed and written (or read and widened) while in the cache.
constexpr size_t kPieceBytes = 256 << 10;
// What is written goes to the disk while more comes: an fsync at the end could last for minutes, like a hang.
constexpr int64_t kSyncEveryBytes = 256 << 20;

// A file that is hashed on its way to the disk.
class HashedOutput {
 public:
  explicit HashedOutput(const std::filesystem::path& path) : path_(path), file_(create_output(path)) {}

  void append(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const auto piece = bytes.first(std::min(bytes.size(), kPieceBytes));
      hash_.update(piece);
      write_all(file_, piece, path_);
      written_ += int64_t(piece.size());
      if (written_ % kSyncEveryBytes < int64_t(piece.size())) sync(file_, path_);
      bytes = bytes.subspan(piece.size());
    }
  }

  WrittenFile finish() {
    sync(file_, path_);
    return {written_, hash_.digest()};
  }

 private:
  std::filesystem::path path_;
  Fd file_;
  Xxh3 hash_;
  int64_t written_ = 0;
};

int64_t bytes_of(const TensorToSave& tensor) {
  int64_t n = sizeof(float);
  for (int64_t d : tensor.shape) n *= d;
  return n;
}

// Padded with spaces so that the data starts at a multiple of 8 bytes.
std::string header_of(std::span<const TensorToSave> tensors) {
  std::string header = R"({"__metadata__":{"format":"pt"})";
  int64_t begin = 0;
  for (const TensorToSave& t : tensors) {
    const int64_t end = begin + bytes_of(t);
    header += fmt::format(R"(,{}:{{"dtype":"F32","shape":{},"data_offsets":[{},{}]}})", nlohmann::json(t.name).dump(),
                          nlohmann::json(t.shape).dump(), begin, end);
    begin = end;
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return header;
}

void append_tensor(HashedOutput& out, const TensorToSave& tensor) {
  const size_t n = size_t(bytes_of(tensor)) / sizeof(float);
  if (!tensor.gather) return out.append(std::as_bytes(std::span(tensor.data, n)));
  std::vector<float> piece(std::min(n, kPieceBytes / sizeof(float)));
  for (size_t begin = 0; begin < n; begin += piece.size()) {
    const auto values = std::span(piece).first(std::min(piece.size(), n - begin));
    tensor.gather(int64_t(begin), values);
    out.append(std::as_bytes(values));
  }
}

void check_range(const SavedTensor& tensor, int64_t begin, size_t asked) {
  DDP_CHECK(begin >= 0 && begin + int64_t(asked) <= tensor.numel(), "{} has {} elements, {} asked for from {} on",
            tensor.name, tensor.numel(), asked, begin);
}

}  // namespace

WrittenFile write_safetensors(const std::filesystem::path& path, std::span<const TensorToSave> tensors) {
  const std::string header = header_of(tensors);
  const uint64_t header_bytes = header.size();
  HashedOutput out(path);
  out.append(std::as_bytes(std::span(&header_bytes, 1)));
  out.append(std::as_bytes(std::span(header)));
  for (const TensorToSave& t : tensors) append_tensor(out, t);
  return out.finish();
}

SafetensorsReader::SafetensorsReader(const std::filesystem::path& path) : path_(path), file_(open_input(path)) {
  const int64_t size = file_size(file_, path_);
  const auto malformed = [&](const std::string& why) { return malformed_safetensors(path_.string(), why); };
  check_may_be_safetensors(first_bytes(file_, path_), path_);
  if (size < kLengthBytes) throw malformed(fmt::format("{} bytes are too few for a header", size));
  uint64_t header_bytes = 0;
  read_exact(file_, std::as_writable_bytes(std::span(&header_bytes, 1)), 0, path_);
  if (header_bytes > uint64_t(size - kLengthBytes))
    throw malformed(fmt::format("its header claims {} bytes, the file has {}", header_bytes, size));
  if (header_bytes > kMaxHeaderBytes)
    throw malformed(fmt::format("a header of {} bytes, at most {} are read", header_bytes, kMaxHeaderBytes));
  std::string header(size_t(header_bytes), '\0');
  read_exact(file_, std::as_writable_bytes(std::span(header)), kLengthBytes, path_);
  data_begin_ = kLengthBytes + int64_t(header_bytes);
  tensors_ = parse_safetensors_header(header, size - data_begin_, path_.string());
}

void SafetensorsReader::fail_dtype(const SavedTensor& tensor, std::string_view can_be) const {
  throw Error(ExitCode::data,
              fmt::format("{}: tensor {} is {}; {} can be loaded", path_.string(), tensor.name, tensor.dtype, can_be));
}

void SafetensorsReader::read_i32(const SavedTensor& tensor, std::span<int32_t> out) const {
  DDP_CHECK(int64_t(out.size()) == tensor.numel(), "{} elements of {}, which has {}", out.size(), tensor.name,
            tensor.numel());
  if (tensor.dtype != "I32") fail_dtype(tensor, "I32");
  read_exact(file_, std::as_writable_bytes(out), data_begin_ + tensor.begin, path_);
}

void SafetensorsReader::read_f32(const SavedTensor& tensor, std::span<float> out, int64_t begin) const {
  check_range(tensor, begin, out.size());
  const auto begin_of = [&](size_t element_bytes) {
    return data_begin_ + tensor.begin + begin * int64_t(element_bytes);
  };
  const auto converted = [&]<class T>(T, auto to) {
    std::array<T, kPieceBytes / sizeof(T)> pieces;
    for (int64_t offset = begin_of(sizeof(T)); !out.empty();) {
      const auto piece = std::span(pieces).first(std::min(out.size(), pieces.size()));
      read_exact(file_, std::as_writable_bytes(piece), offset, path_);
      std::transform(piece.begin(), piece.end(), out.begin(), to);
      offset += int64_t(piece.size_bytes());
      out = out.subspan(piece.size());
    }
  };
  if (tensor.dtype == "F32") return read_exact(file_, std::as_writable_bytes(out), begin_of(sizeof(float)), path_);
  if (tensor.dtype == "F16") return converted(uint16_t(), [](uint16_t bits) { return to_f32(Half{bits}); });
  if (tensor.dtype == "BF16") return converted(uint16_t(), [](uint16_t bits) { return to_f32(BFloat16{bits}); });
  if (tensor.dtype == "F64") return converted(double(), [](double value) { return float(value); });
  fail_dtype(tensor, "F32, F16, BF16 and F64");
}

}  // namespace ddp
