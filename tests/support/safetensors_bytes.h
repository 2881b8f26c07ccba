// A safetensors file as bytes, valid or not.
#pragma once

#include <cstdint>
#include <string>

namespace ddp::test {

// 8 bytes of header length, the header, the data.
inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
  const uint64_t n = header.size();
  return std::string(reinterpret_cast<const char*>(&n), sizeof n) + header + data;
}

}  // namespace ddp::test
