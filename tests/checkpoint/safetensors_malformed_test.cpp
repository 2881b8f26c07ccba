// Hostile files: every one must end as one Error(data) line that names the file, quickly and without memory of its
// size.
#include <fmt/core.h>

#include <ctime>
#include <random>

#include "tests/checkpoint/fixture.h"
#include "tests/support/mutated.h"

namespace ddp {
namespace {

using test::safetensors_bytes;
using test::TemporaryFolder;

std::string tensor(const std::string& name, const std::string& shape, const std::string& offsets,
                   const std::string& dtype = "F32") {
  return fmt::format(R"("{}":{{"dtype":"{}","shape":{},"data_offsets":{}}})", name, dtype, shape, offsets);
}

std::string with_length(uint64_t length, const std::string& rest) {
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + rest;
}

std::string many_tensors(int n) {
  std::string header = "{";
  for (int i = 0; i < n; ++i) header += (i == 0 ? "" : ",") + tensor(std::to_string(i), "[0]", "[0,0]");
  return header + "}";
}

struct Malformed {
  const char* what;
  std::string bytes;
  const char* says;  // part of the message
};

std::vector<Malformed> malformed_files() {
  const std::string four(4, 'x'), eight(8, 'x');
  const auto file = [](const std::string& entries, const std::string& data) {
    return safetensors_bytes("{" + entries + "}", data);
  };
  const std::string good = tensor("a", "[1]", "[0,4]");
  return {
      {"empty file", "", "it is empty"},
      {"shorter than a length", std::string(7, '\1'), "7 bytes are too few"},
      {"header length 0", with_length(0, ""), "no valid JSON"},
      {"header length 2^63", with_length(uint64_t(1) << 63, "{}"), "claims 9223372036854775808 bytes"},
      {"header length 2^64-1", with_length(~uint64_t(0), "{}"), "claims 18446744073709551615 bytes"},
      {"header longer than the file", with_length(3, "{}"), "claims 3 bytes"},
      {"header longer than any honest one", safetensors_bytes(std::string(100'000'001, ' '), ""), "at most 100000000"},
      {"overlap", file(good + "," + tensor("b", "[1]", "[2,6]"), eight), "tensor \"b\" has bytes [2, 6)"},
      {"the same bytes twice", file(good + "," + tensor("b", "[1]", "[0,4]"), four), "has bytes [0, 4)"},
      {"hole", file(good + "," + tensor("b", "[1]", "[8,12]"), eight + four), "tensor \"b\" has bytes [8, 12)"},
      {"hole at the start", file(tensor("b", "[1]", "[4,8]"), eight), "tensor \"b\" has bytes [4, 8)"},
      {"data behind the last tensor", file(good, eight), "8 bytes of data, its tensors have 4"},
      {"data without tensors", file("", four), "4 bytes of data"},
      {"negative offset", file(tensor("a", "[1]", "[-4,0]"), ""), "negative"},
      {"end before begin", file(tensor("a", "[1]", "[0,0]") + "," + tensor("b", "[1]", "[4,0]"), four), "tensor \"a\""},
      {"cut off", file(tensor("a", "[2]", "[0,8]"), four), "outside the 4 bytes of data; it may be cut off"},
      {"offset 2^63", file(tensor("a", "[1]", "[0,9223372036854775808]"), four), "[0, 9223372036854775807)"},
      {"offset 10^30", file(tensor("a", "[1]", "[0,1000000000000000000000000000000]"), four), "not a 64-bit integer"},
      {"fractional offset", file(tensor("a", "[1]", "[0,4.0]"), four), "not a 64-bit integer"},
      {"one offset", file(tensor("a", "[1]", "[4]"), four), "two data_offsets"},
      {"three offsets", file(tensor("a", "[1]", "[0,4,4]"), four), "two data_offsets"},
      {"negative dimension", file(tensor("a", "[-1]", "[0,4]"), four), "negative"},
      {"shape product wraps to 4", file(tensor("a", "[4611686018427387905,4]", "[0,16]"), eight + eight),
       "do not make"},
      {"shape product wraps to 0", file(tensor("a", "[4294967296,4294967296]", "[0,0]"), ""), "do not make"},
      {"size is not the shape's", file(tensor("a", "[2]", "[0,4]"), four), "do not make"},
      {"size is not the dtype's", file(tensor("a", "[1]", "[0,4]", "F16"), four), "do not make"},
      {"unknown dtype", file(tensor("a", "[1]", "[0,4]", "F31"), four), "unknown dtype \"F31\""},
      {"dtype is a number", file(R"("a":{"dtype":4,"shape":[1],"data_offsets":[0,4]})", four), "a number where none"},
      {"no dtype", file(R"("a":{"shape":[1],"data_offsets":[0,4]})", four), "needs dtype, shape"},
      {"no shape", file(R"("a":{"dtype":"F32","data_offsets":[0,4]})", four), "needs dtype, shape"},
      {"no offsets", file(R"("a":{"dtype":"F32","shape":[1]})", four), "needs dtype, shape"},
      {"field twice", file(R"("a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]})", four),
       "field \"dtype\""},
      {"name twice, so that the first has no tensor", file(good + "," + tensor("a", "[1]", "[4,8]"), eight), "[4, 8)"},
      {"metadata twice", file(R"("__metadata__":{},"__metadata__":{})", ""), "two __metadata__"},
      {"metadata is not text", file(R"("__metadata__":{"k":1})", ""), "a number where none"},
      {"a list of lists", file(tensor("a", "[[1]]", "[0,4]"), four), "an array where none"},
      {"a tensor that is null", file(R"("a":null)", ""), "null where none"},
      {"a name with a bad UTF-8 byte", file(tensor("\xff", "[1]", "[0,4]"), four), "no valid JSON"},
      {"an overlong UTF-8 name", file(tensor("\xc0\xaf", "[1]", "[0,4]"), four), "no valid JSON"},
      {"a byte order mark", safetensors_bytes("\xef\xbb\xbf{}", ""), "a byte order mark"},
      {"no valid JSON", safetensors_bytes("{nonsense}", ""), "no valid JSON"},
      {"unfinished JSON", safetensors_bytes("{", ""), "no valid JSON"},
      {"two documents", safetensors_bytes("{}{}", ""), "no valid JSON"},
      {"a zero byte behind the JSON", safetensors_bytes(std::string("{}\0", 3), ""), "a zero byte"},
      {"a million levels of arrays", file("\"a\":" + std::string(1'000'000, '['), ""), "an array where none"},
      {"a million levels of objects", safetensors_bytes("{\"a\":" + std::string(1'000'000, '{'), ""), "no valid JSON"},
      {"an unknown field that is too deep",
       file(R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":)" + std::string(1'000'000, '['), four),
       "more than 127 levels"},
      {"half a byte", file(tensor("a", "[3]", "[0,2]", "F4"), "xx"), "do not make"},
      {"one name of 4 MB", file("\"" + std::string(4 << 20, 'n') + "\":1", ""), "a number where none"},
      {"a number of a million digits", file(tensor("a", "[" + std::string(1'000'000, '9') + "]", "[0,4]"), four),
       "no valid JSON"},
  };
}

TEST_CASE("every malformed file is one clear error that names it, in less than a second") {
  TemporaryFolder folder;
  const auto path = folder.path / "bad.safetensors";
  for (const Malformed& bad : malformed_files()) {
    INFO(bad.what);
    test::write_bytes(path, bad.bytes);
    std::string message;
    const std::clock_t begin = std::clock();  // of this process, so that a busy machine fails nothing
    CHECK(test::failure([&] { SafetensorsReader reader(path); }, &message) == 65);
    CHECK(std::clock() - begin < CLOCKS_PER_SEC);
    INFO(message);
    CHECK(message.starts_with(path.string() + " is not a valid safetensors file: "));
    CHECK(message.find(bad.says) != std::string::npos);
    CHECK(message.find('\n') == std::string::npos);
    CHECK(message.size() < 400);
  }
}

TEST_CASE("a header may say more than is asked of it, as the safetensors library lets it") {
  TemporaryFolder folder;
  const auto path = folder.path / "strange.safetensors";
  const std::string four(4, 'x'), good = tensor("a", "[1]", "[0,4]");
  const auto tensors = [&](const std::string& header, const std::string& data) {
    test::write_bytes(path, safetensors_bytes(header, data));
    return SafetensorsReader(path).tensors();
  };
  const auto is_a = [&](const std::string& header) {
    const std::vector<SavedTensor> found = tensors(header, four);
    return found.size() == 1 && found[0].name == "a" && found[0].dtype == "F32" &&
           found[0].shape == std::vector<int64_t>{1} && found[0].begin == 0 && found[0].end == 4;
  };
  CHECK(is_a("{" + good + "}"));
  CHECK(is_a("\n {" + good + "} \t\r\n"));
  CHECK(is_a("{\"__metadata__\":null," + good + "}"));
  CHECK(is_a(R"({"__metadata__":{"k":"1","k":"2"},)" + good + "}"));
  CHECK(is_a(R"({"a":{"x":[{"y":[1,-2.5,null,true,"z"]},[]],"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})"));
  CHECK(is_a(R"({"a":["F32",[1],[0,4]]})"));
  CHECK(is_a(R"({"a":{"dtype":{"F32":null},"shape":[1],"data_offsets":[0,4]}})"));
  CHECK(is_a("{" + tensor("a", "[7]", "[9,5]", "U8") + "," + good + "}"));  // the last one counts
  CHECK(tensors("{" + tensor("a", "[1,1,1,1,1,1,1,1,1,1]", "[0,4]") + "}", four)[0].numel() == 1);
  CHECK(tensors("{" + tensor("a", "[9223372036854775808,0]", "[0,0]") + "}", "")[0].numel() == 0);
  CHECK(tensors("{" + tensor("b", "[1]", "[4,8]") + "," + good + "}", four + four)[0].name == "a");
  const std::pair<const char*, int> eight_of[] = {
      {"F4", 4}, {"F6_E2M3", 6}, {"F8_E8M0", 8}, {"F8_E5M2FNUZ", 8}, {"C64", 64}};
  for (const auto& [dtype, bytes] : eight_of) {
    CAPTURE(dtype);
    CHECK(
        tensors("{" + tensor("a", "[8]", fmt::format("[0,{}]", bytes), dtype) + "}", std::string(size_t(bytes), 'x'))[0]
            .numel() == 8);
  }
  CHECK(tensors(many_tensors(70'000), "").size() == 70'000);
}

TEST_CASE("a missing file and a folder are missing input") {
  TemporaryFolder folder;
  CHECK(test::failure([&] { SafetensorsReader reader(folder.path / "none"); }) == 66);
  CHECK(test::failure([&] { SafetensorsReader reader(folder.path); }) == 66);
}

// Words that keep some structure, so that a header gets past the first check.
const std::vector<std::string> kWords = {"{",
                                         "}",
                                         "[",
                                         "]",
                                         ",",
                                         ":",
                                         "\"",
                                         "0",
                                         "4",
                                         "-1",
                                         "9223372036854775807",
                                         "18446744073709551616",
                                         "1e3",
                                         "null",
                                         "\"a\"",
                                         "\"b\"",
                                         "\"dtype\"",
                                         "\"shape\"",
                                         "\"data_offsets\"",
                                         "\"F32\"",
                                         "\"BF16\"",
                                         "\"__metadata__\"",
                                         "\\u0000",
                                         "\xff",
                                         "\xc3\xa9",
                                         "true",
                                         R"(,"d":{"dtype":"F32","shape":[0],"data_offsets":[4,4]})"};

TEST_CASE("mutated headers are either refused or describe the data exactly") {
  std::mt19937 random(20261124);
  const std::string valid = R"({"__metadata__":{"format":"pt"},)" + tensor("a", "[2,3]", "[0,24]") + "," +
                            tensor("b", "[]", "[24,28]") + "," + tensor("c", "[3]", "[28,34]", "BF16") + "}";
  constexpr int64_t kDataBytes = 34;
  int accepted = 0, refused = 0;
  const std::clock_t end = std::clock() + 2 * CLOCKS_PER_SEC;  // of processor time: under load a test does as much
  for (int round = 0; round < 100'000 && std::clock() < end; ++round) {
    const std::string header = test::mutated(valid, random, {.words = kWords});
    std::vector<SavedTensor> tensors;
    const int code = test::failure([&] { tensors = parse_safetensors_header(header, kDataBytes, "fuzz"); });
    if (code != -1) {
      ++refused;
      if (code != 65) FAIL("exit code " << code << " for " << header);
      continue;
    }
    ++accepted;
    int64_t covered = 0;
    for (const SavedTensor& t : tensors) {
      if (t.begin != covered || t.end < t.begin) FAIL("tensor " << t.name << " is not contiguous in " << header);
      covered = t.end;
    }
    if (covered != kDataBytes) FAIL("not all data is covered by " << header);
  }
  CHECK(accepted > 10);
  CHECK(refused > 1000);
}

}  // namespace
}  // namespace ddp
