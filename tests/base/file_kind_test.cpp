// Files by their first bytes: each known kind by name, and no name for what is none of them.
#include "runtime/base/file_kind.h"

#include <catch2/catch.hpp>
#include <random>
#include <string>
#include <vector>

using namespace ddp;
using namespace std::string_literals;

namespace {

std::string kind(const std::string& bytes) { return std::string(kind_of_file(std::as_bytes(std::span(bytes)))); }
bool text(const std::string& bytes) { return is_text(std::as_bytes(std::span(bytes))); }

}  // namespace

TEST_CASE("a file of a known kind is named") {
  struct Case {
    std::string bytes, words;
  };
  const std::string zeros(300, '\0');
  const std::vector<Case> cases = {
      {"\x93NUMPY\1\0v\0{'descr': '<u2', 'fortran_order': False"s, "NumPy"},
      {"PK\3\4\x14\0\0\0\0\0"s + zeros, "zip"},
      {"\x1f\x8b\x08\0abcd"s, "gzip"},
      {"\x28\xb5\x2f\xfd\x04\x58"s, "zstd"},
      {"\xfd"s + "7zXZ\0\0\4"s, "xz"},
      {"BZh91AY&SY\x1f\x02\0"s, "bzip2"},
      {"\x04\x22\x4d\x18\x64\x40"s, "lz4"},
      {"\x89HDF\r\n\x1a\n\0\0"s, "HDF5"},
      {"PAR1\x15\4\x15\x80"s, "Parquet"},
      {"ARROW1\0\0\xff\xff\xff\xff"s, "Arrow"},
      {"\xff\xff\xff\xff\x78\1\0\0\x10\0\0\0\0\0\x0a\0"s, "Arrow"},
      {"\x38\1\0\0\0\0\0\0{\"a\":{\"dtype\":\"F32\""s, "safetensors"},
      {"\x80\2}q\0(X\5\0\0\0a"s, "pickle"},
      {"\x80\2cnumpy.core.multiarray\n"s, "pickle"},
      {"\x80\4\x95\x1c\0\0\0\0\0\0\0]\x94"s, "pickle"},
      {"\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e"s, "pickle of PyTorch"},
      {"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"s, "PNG"},
      {"\xff\xd8\xff\xe0\0\x10JFIF\0"s, "JPEG"},
      {"train/a.txt"s + std::string(246, '\0') + "ustar\0" + "00"s, "tar"},
      {"GGUF\3\0\0\0"s, "GGUF"},
      {"MMIDIDX\0\0\1\0\0\0\0\0\0\0\x08"s, "Megatron"},
      {"\x7f"s + "ELF\2\1\1\0"s, "ELF"},
      {"SQLite format 3\0\x10\0"s, "SQLite"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", "Git LFS"},
      {"\n<!DOCTYPE html>\n<html>", "HTML"},
      {"<html lang=\"en\">", "HTML"},
      {"<?xml version=\"1.0\"?>", "XML"},
      {"{\"text\": \"a\"}\n{\"text\": \"b\"}\n", "JSON"},
      {"[\n  {\n    \"text\": 1}]", "JSON"},
      {"\xff\xfeH\0e\0l\0l\0"s, "UTF-16"},
      {"\xfe\xff\0H\0e\0l\0l"s, "UTF-16"},
  };
  for (const Case& c : cases) {
    INFO(c.words);
    CHECK_THAT(kind(c.bytes), Catch::Contains(c.words));
    for (size_t n = 0; n < c.bytes.size(); ++n) kind(c.bytes.substr(0, n));  // reads nothing beyond the end
  }
  CHECK(kind(cases[23].bytes) == kLfsPointer);
}

TEST_CASE("text is no file of a binary kind, whatever it begins with") {
  for (const char* begin : {"PAR1 is the first of two", "GGUF, said he", "BZh", "RIFF raff", "%PDF-like", "GIF89a",
                            "ORCHARD", "In the beginning", "", "[Music] plays", "{curly}", "MZ", "PK"})
    CHECK(kind(begin).empty());
  CHECK(text("caf\xc3\xa9 \xe2\x82\xac"));
  CHECK(text("\xd0\xbf\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82"));
  CHECK(text("\xbf\xd1\x80\xd0\xb8\xd0\xb2\xd0"));  // cut off at both ends
  CHECK(
      text("Der S\xfc"
           "den, in Latin-1: eine lange Zeile"));
  CHECK(text("a\tb\r\n"));
  CHECK_FALSE(text("a\0b"s));
  CHECK_FALSE(text("\x1b[0m"));
  CHECK_FALSE(text("\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7\xf6"));
}

TEST_CASE("random tokens are no known kind") {
  std::mt19937 random(1);
  for (int file = 0; file < 20'000; ++file) {
    std::vector<uint16_t> tokens(64);
    for (uint16_t& token : tokens) token = uint16_t(random() % 50257);
    REQUIRE(kind_of_file(std::as_bytes(std::span(tokens))).empty());
  }
}
