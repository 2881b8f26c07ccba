// Reading and writing the safetensors format: 8 bytes of header length (little-endian), a JSON header, the tensors'
// bytes. Chosen because everybody's tools read it and nothing in it is executed. Files come from strangers, so the
// reader trusts no number in one: whatever is wrong is an Error(data) with the file's name, found before memory is
// allocated for it. Source: https://github.com/huggingface/safetensors (README, "Format").
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/fs.h"

namespace ddp {

struct TensorToSave {
  std::string name;
  std::vector<int64_t> shape;
  const float* data = nullptr;  // product of shape elements, row-major
  // Where these do not lie in order, instead: writes elements [begin, begin + out.size()).
  std::function<void(int64_t begin, std::span<float> out)> gather = {};
};

struct WrittenFile {
  int64_t bytes = 0;
  uint64_t xxh3 = 0;
};

// Writes the tensors as F32 in the order given and fsyncs. The bytes are a function of names, shapes and values alone;
// nothing but the header is copied. Errors: io (74).
WrittenFile write_safetensors(const std::filesystem::path& path, std::span<const TensorToSave> tensors);

// A tensor as a header describes it.
struct SavedTensor {
  std::string name;
  std::string dtype;           // "F32", "BF16", ...
  std::vector<int64_t> shape;  // one beyond 63 bits, which only a tensor without elements has, is the largest
  int64_t begin = 0, end = 0;  // bytes from the start of the data

  int64_t numel() const;
};

// The tensors of a header whose file holds `data_bytes` bytes of data, in the order of their bytes: what the
// safetensors library reads, of the dtypes that it knows, unique names, sizes that agree with the shapes, neither holes
// nor overlaps. `file` stands for the file in errors. Errors: data (65).
std::vector<SavedTensor> parse_safetensors_header(std::string_view header, int64_t data_bytes, const std::string& file);

// The one form of these errors: data (65).
Error malformed_safetensors(const std::string& file, const std::string& why, const std::string& hint = {});

class SafetensorsReader {
 public:
  // Errors: no_input (66) when there is no such file, data (65) when it is malformed.
  explicit SafetensorsReader(const std::filesystem::path& path);
  const std::filesystem::path& path() const { return path_; }
  const std::vector<SavedTensor>& tensors() const { return tensors_; }
  // Reads the elements from `begin` on that `out` has room for. F16 and BF16 are widened, F64 is rounded. Errors: data
  // (65) for another dtype.
  void read_f32(const SavedTensor& tensor, std::span<float> out, int64_t begin = 0) const;
  // All tensor.numel() elements, of I32.
  void read_i32(const SavedTensor& tensor, std::span<int32_t> out) const;

 private:
  // Errors: data (65), naming the dtypes that `can_be` read.
  [[noreturn]] void fail_dtype(const SavedTensor& tensor, std::string_view can_be) const;

  std::filesystem::path path_;
  Fd file_;
  int64_t data_begin_ = 0;
  std::vector<SavedTensor> tensors_;
};

}  // namespace ddp
