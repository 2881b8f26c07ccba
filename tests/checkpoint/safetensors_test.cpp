#include <algorithm>
#include <cmath>

#include "runtime/base/hash.h"
#include "tests/checkpoint/fixture.h"

namespace ddp {
namespace {

using test::TemporaryFolder;

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return std::ranges::equal(std::as_bytes(std::span(a)), std::as_bytes(std::span(b)));
}

TEST_CASE("tensors of odd shapes come back bit for bit") {
  TemporaryFolder folder;
  const auto path = folder.path / "a.safetensors";
  std::vector<std::vector<float>> values;
  std::vector<TensorToSave> tensors;
  const std::vector<std::vector<int64_t>> shapes = {{1}, {7}, {33, 5}, {1000, 331}, {0}, {3, 0, 2}, {}, {2, 3, 5, 7}};
  for (const auto& shape : shapes) {
    size_t n = 1;
    for (int64_t d : shape) n *= size_t(d);
    auto& v = values.emplace_back(n);
    for (size_t i = 0; i < n; ++i) v[i] = float(i) * 0.37f - 1e-40f;
    tensors.push_back({"tensor \"" + std::to_string(values.size()) + "\" \\ é", shape, v.data()});
  }
  values[0][0] = -0.0f;
  values[1][0] = NAN;

  const WrittenFile written = write_safetensors(path, tensors);
  const std::string bytes = read_text(path);
  CHECK(written.bytes == int64_t(bytes.size()));
  CHECK(written.xxh3 == xxh3(std::as_bytes(std::span(bytes))));

  const SafetensorsReader reader(path);
  REQUIRE(reader.tensors().size() == tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto found = std::find_if(reader.tensors().begin(), reader.tensors().end(),
                                    [&](const SavedTensor& t) { return t.name == tensors[i].name; });
    REQUIRE(found != reader.tensors().end());
    CHECK(found->dtype == "F32");
    CHECK(found->shape == tensors[i].shape);
    std::vector<float> read(values[i].size(), 5.0f);
    reader.read_f32(*found, read);
    CHECK(same_bits(read, values[i]));
  }
}

TEST_CASE("a written file has exactly the documented bytes") {
  TemporaryFolder folder;
  const auto path = folder.path / "a.safetensors";
  const float values[2] = {1.0f, -2.0f};
  write_safetensors(path, std::vector<TensorToSave>{{"b", {2, 1}, values}});
  std::string header = R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  CHECK(read_text(path) == test::safetensors_bytes(header, std::string("\0\0\x80\x3f\0\0\0\xc0", 8)));
}

TEST_CASE("a file without tensors is valid") {
  TemporaryFolder folder;
  test::write_bytes(folder.path / "a", test::safetensors_bytes("{}", ""));
  CHECK(SafetensorsReader(folder.path / "a").tensors().empty());
}

TEST_CASE("F16 and BF16 are widened exactly") {
  TemporaryFolder folder;
  const std::vector<uint16_t> f16 = {0x0000, 0x8000, 0x3C00, 0xC000, 0x7BFF, 0x0001,
                                     0x83FF, 0x0400, 0x7C00, 0xFC00, 0x3555};
  const std::vector<float> f16_values = {0.0f,          -0.0f,    1.0f,     -2.0f,     65504.0f,   0x1p-24f,
                                         -0x1.ff8p-15f, 0x1p-14f, INFINITY, -INFINITY, 0x1.554p-2f};
  const std::vector<uint16_t> bf16 = {0x3F80, 0xC040, 0x0001, 0x7F80};
  const std::vector<float> bf16_values = {1.0f, -3.0f, 0x1p-133f, INFINITY};
  const std::string data = std::string(reinterpret_cast<const char*>(f16.data()), f16.size() * 2) +
                           std::string(reinterpret_cast<const char*>(bf16.data()), bf16.size() * 2);
  test::write_bytes(folder.path / "a",
                    test::safetensors_bytes(R"({"h":{"dtype":"F16","shape":[11],"data_offsets":[0,22]},
      "b":{"dtype":"BF16","shape":[2,2],"data_offsets":[22,30]}})",
                                            data));
  const SafetensorsReader reader(folder.path / "a");
  std::vector<float> read(11), read_b(4);
  reader.read_f32(reader.tensors()[0], read);
  reader.read_f32(reader.tensors()[1], read_b);
  CHECK(same_bits(read, f16_values));
  CHECK(same_bits(read_b, bf16_values));
}

TEST_CASE("I32 is read as it is, and nothing else as integers") {
  TemporaryFolder folder;
  const std::vector<int32_t> values = {-1, 0, 1, INT32_MIN, INT32_MAX, 77, 33};
  test::write_bytes(
      folder.path / "a",
      test::safetensors_bytes(R"({"f":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
      "n":{"dtype":"I32","shape":[7],"data_offsets":[4,32]},"u":{"dtype":"U32","shape":[],"data_offsets":[32,36]}})",
                              "FFFF" + std::string(reinterpret_cast<const char*>(values.data()), 28) + "UUUU"));
  const SafetensorsReader reader(folder.path / "a");
  std::vector<int32_t> read(7), one(1);
  reader.read_i32(reader.tensors()[1], read);
  CHECK(read == values);
  CHECK_THROWS_AS(reader.read_i32(reader.tensors()[1], one), Bug);
  for (const size_t other : {size_t{0}, size_t{2}}) {
    std::string message;
    CHECK(test::failure([&] { reader.read_i32(reader.tensors()[other], one); }, &message) == 65);
    CHECK(message.find("tensor " + reader.tensors()[other].name + " is ") != std::string::npos);
    CHECK(message.find("; I32 can be loaded") != std::string::npos);
  }
}

TEST_CASE("a tensor of integers cannot be loaded as weights") {
  TemporaryFolder folder;
  test::write_bytes(folder.path / "a",
                    test::safetensors_bytes(R"({"n":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}})", "12345678"));
  const SafetensorsReader reader(folder.path / "a");
  std::vector<float> out(1);
  std::string message;
  CHECK(test::failure([&] { reader.read_f32(reader.tensors()[0], out); }, &message) == 65);
  CHECK(message.find("tensor n is I64") != std::string::npos);
}

}  // namespace
}  // namespace ddp
