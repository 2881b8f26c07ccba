// A safetensors file as bytes, valid or not.
#pragma once

#include <fmt/ranges.h>

#include <cstdint>
#include <string>
#include <vector>

namespace ddp::test {

// 8 bytes of header length, the header, the data.
inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
  const uint64_t n = header.size();
  return std::string(reinterpret_cast<const char*>(&n), sizeof n) + header + data;
}

struct IntTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<int32_t> values;
  std::string dtype = "I32";  // as the header calls it
};

inline std::string safetensors_bytes(const std::vector<IntTensor>& tensors) {
  std::string header = R"({"__metadata__":{"format":"pt"})", data;
  for (const IntTensor& t : tensors) {
    const size_t begin = data.size();
    data.append(reinterpret_cast<const char*>(t.values.data()), t.values.size() * 4);
    header += fmt::format(R"(,"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", t.name, t.dtype,
                          fmt::join(t.shape, ","), begin, data.size());
  }
  return safetensors_bytes(header + "}", data);
}

}  // namespace ddp::test
