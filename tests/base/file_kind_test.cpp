// Files by their first bytes, as real programs write them: each known kind by name, and no name for what is none.
#include "runtime/base/file_kind.h"

#include <catch2/catch.hpp>
#include <random>
#include <string>
#include <vector>

using namespace ddp;
using namespace std::string_literals;

namespace {

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }
FileKind kind(const std::string& bytes) { return kind_of_file(bytes_of(bytes)); }
FileKind kind_of_weights(const std::string& bytes) { return kind_if_not_safetensors(bytes_of(bytes)); }
bool text(const std::string& bytes) { return is_text(bytes_of(bytes)); }

const std::string kZeros(600, '\0');

std::string zip_of(const std::string& name) {
  return "PK\3\4\0\0\0\x08\x08\0\0\0\0\0"s + std::string(12, '\0') + char(name.size()) + "\0\0\0"s + name + kZeros;
}

std::string tar_of(const std::string& name) {
  return name + std::string(257 - name.size(), '\0') + "ustar\0"s + "00" + kZeros;
}

struct Case {
  std::string bytes;
  FileClass type;
  std::string words;
};

std::vector<Case> known_kinds() {
  using enum FileClass;
  return {
      {"\x93NUMPY\1\0v\0{'descr': '<u2', 'fortran_order': False"s, numpy_array, "a NumPy array (.npy)"},
      {zip_of("arr_0.npy"), numpy_arrays, "a zip archive of NumPy arrays (.npz)"},
      {zip_of("archive/data.pkl"), pickle, "a zip archive with a pickle, as torch.save writes"},
      {zip_of("pytorch_model/.format_version"), pickle, "a zip archive with a pickle, as torch.save writes"},
      {zip_of("model/byteorder"), pickle, "a zip archive with a pickle, as torch.save writes"},
      {zip_of("model.safetensors"), packed, "a zip archive"},
      {"PK\3\4"s, packed, "a zip archive"},
      {"PK\3\4\x14\0\0\0\0\0"s + kZeros, packed, "a zip archive"},
      {"PK\5\6"s + kZeros.substr(0, 18), packed, "a zip archive"},
      {"\x1f\x8b\x08\0abcd"s, packed, "a gzip archive"},
      {"\x1f\x8b\x08\0\0\0\0\0\0\3"s + kZeros, packed, "a gzip archive"},
      {"\x28\xb5\x2f\xfd\x04\x58"s, packed, "a zstd archive"},
      {"\x28\xb5\x2f\xfd\x04\0"s + kZeros, packed, "a zstd archive"},
      {"\xfd\x37zXZ\0\0\4"s + kZeros, packed, "an xz archive"},
      {"BZh91AY&SY\x1f\x02\0"s, packed, "a bzip2 archive"},
      {"BZh91AY&SY"s + kZeros, packed, "a bzip2 archive"},
      {"\x04\x22\x4d\x18\x64\x40"s, packed, "an lz4 archive"},
      {"7z\xbc\xaf\x27\x1c\0\4"s + kZeros, packed, "a 7z archive"},
      {"Rar!\x1a\x07\1\0"s, packed, "a rar archive"},
      {tar_of("train/a.txt"), packed, "a tar archive"},
      {tar_of("model.safetensors"), packed, "a tar archive"},
      {"\x89HDF\r\n\x1a\n\0\0"s + kZeros, weights, "an HDF5 file (.h5)"},
      {"GGUF\3\0\0\0"s + kZeros, weights, "a GGUF file"},
      {"GGML\1\0\0\0"s, weights, "a GGML file"},
      {"lmgg\0\x7d\0\0"s, weights, "a GGML file"},
      {"PAR1\x15\4\x15\x80"s, other, "a Parquet file"},
      {"ARROW1\0\0\xff\xff\xff\xff"s, other, "an Arrow file"},
      {"\xff\xff\xff\xff\x78\1\0\0\x10\0\0\0\0\0\x0a\0"s, other, "a stream of Arrow"},
      {"FEA1\0\0\0\0"s, other, "a Feather file"},
      {"Obj\1\4\x16"s, other, "an Avro file"},
      {"MMIDIDX\0\0\1\0\0\0\0\0\0\0\x08"s, other, "Megatron's index (.idx)"},
      {"\x7f\x45LF\2\1\1\0"s, other, "a program (ELF)"},
      {"SQLite format 3\0\x10\0"s, other, "an SQLite database"},
      {"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"s, other, "a PNG picture"},
      {"\xff\xd8\xff\xe0\0\x10JFIF\0"s, other, "a JPEG picture"},
      {"GIF89a\x10\0\x10\0"s, other, "a GIF picture"},
      {"RIFF\x24\x08\0\0WAVE"s, other, "a RIFF file"},
      {"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n\0\1"s, other, "a PDF document"},
      {"\x38\1\0\0\0\0\0\0{\"a\":{\"dtype\":\"F32\""s, safetensors, "a safetensors file"},
      // pickle.dumps of protocols 0 to 5, Python 2's too, and both of torch.save
      {"(dp0\nVa\np1\nI1\ns.", pickle, "a pickle of Python"},
      {"(lp1\nI1\naI2\na.", pickle, "a pickle of Python"},
      {"ccollections\nOrderedDict\np0\n(tRp1\nVa\n", pickle, "a pickle of Python"},
      {"cnumpy.core.multiarray\n_reconstruct\np0\n(cnumpy\n", pickle, "a pickle of Python"},
      {"cnumpy._core.multiarray\n_reconstruct\nq\0(cnumpy\n"s, pickle, "a pickle of Python"},
      {"}q\0(X\1\0\0\0aq\1K\1"s, pickle, "a pickle of Python"},
      {"]q\1(K\1K\2e."s, pickle, "a pickle of Python"},
      {"\x80\2}q\0(X\5\0\0\0a"s, pickle, "a pickle of Python"},
      {"\x80\2}q\1(U\5a"s, pickle, "a pickle of Python"},
      {"\x80\2cnumpy.core.multiarray\n"s, pickle, "a pickle of Python"},
      {"\x80\3ccollections\nOrderedDict\nq\0)Rq\1"s, pickle, "a pickle of Python"},
      {"\x80\4\x95\x1c\0\0\0\0\0\0\0]\x94"s, pickle, "a pickle of Python"},
      {"\x80\5\x95\x20\0\0\0\0\0\0\0}"s + kZeros, pickle, "a pickle of Python"},
      {"\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e"s, pickle, "a pickle of PyTorch"},
      {"\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8P"s + kZeros, pickle, "a pickle of PyTorch"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", lfs_pointer, "a Git LFS pointer"},
      {"version https://git-lfs.github.com/spec/v1\r\n", lfs_pointer, "a Git LFS pointer"},
      {"version https://hawser.github.com/spec/v1\n", lfs_pointer, "a Git LFS pointer"},
      {"\n<!DOCTYPE html>\n<html>", web_page, "a web page (HTML)"},
      {"<!doctype HTML>", web_page, "a web page (HTML)"},
      {"\n  <html lang=\"en\">", web_page, "a web page (HTML)"},
      {"\xef\xbb\xbf<HTML>", web_page, "a web page (HTML)"},
      {"<head>", web_page, "a web page (HTML)"},
      {"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", web_page, "XML text"},
      {"{\"text\": \"a\"}\n{\"text\": \"b\"}\n", json_object, "JSON text"},
      {" \n{\"weight_map\": {}}", json_object, "JSON text"},
      {"\xef\xbb\xbf{}", json_object, "JSON text"},
      {"{" + std::string(600, ' ') + "}", json_object, "JSON text"},
      {"[\n  {\n    \"text\": 1}]", json_array, "JSON text"},
      {" [1, 2]", json_array, "JSON text"},
      {"[[-0.5, 1], [2, 3]]", json_array, "JSON text"},
      {"[\"a\"]", json_array, "JSON text"},
      {"\xff\xfeH\0e\0l\0l\0"s, FileClass::text, "text in UTF-16"},
      {"\xfe\xff\0H\0e\0l\0l"s, FileClass::text, "text in UTF-16"},
  };
}

}  // namespace

TEST_CASE("a file of a known kind is named, in the place of tokens and of weights") {
  for (const Case& c : known_kinds()) {
    INFO(c.words << ": " << c.bytes.substr(0, 40));
    CHECK_THAT(std::string(kind(c.bytes).name), Catch::StartsWith(c.words));
    CHECK(kind(c.bytes).type == c.type);
    if (c.type != FileClass::safetensors) CHECK(kind_of_weights(c.bytes).name == kind(c.bytes).name);
    for (size_t n = 0; n < std::min(c.bytes.size(), kKindBytes); ++n) {  // reads nothing beyond the end
      const std::vector<std::byte> cut(bytes_of(c.bytes).begin(), bytes_of(c.bytes).begin() + int64_t(n));
      kind_of_file(cut);
      kind_if_not_safetensors(cut);
    }
  }
}

TEST_CASE("text is no file of a binary kind, whatever it begins with") {
  for (const char* begin : {"PAR1 is the first of two",
                            "GGUF, said he",
                            "BZh",
                            "RIFF raff",
                            "%PDF-like",
                            "GIF89a",
                            "ORCHARD",
                            "In the beginning",
                            "",
                            "[Music] plays",
                            "[12:30] <he> hi",
                            "[1] Smith, J.",
                            "[ ] to do",
                            "[..., he said]",
                            "[[a link]]",
                            "{curly}",
                            "<he> hi",
                            "<|endoftext|>",
                            "(dp) said she",
                            "ccollections",
                            "lmgg",
                            "Obj",
                            "MZ",
                            "PK"}) {
    INFO(begin);
    CHECK(kind(begin).type == FileClass::unknown);
  }
  CHECK(kind(std::string(256, 'a') + "mustard").type == FileClass::unknown);  // with a tar archive's mark in its place
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
    REQUIRE(kind_of_file(std::as_bytes(std::span(tokens))).type == FileClass::unknown);
  }
}

TEST_CASE("where a safetensors file is wanted, less is needed for a kind than among tokens") {
  const std::vector<Case> cases = {
      {"", FileClass::empty, "empty"},
      {"Entry not found", FileClass::text, "plain text"},
      {"[]", FileClass::text, "plain text"},  // a box to tick, as often as an array
      {"model:\n\tlayers: 2\n", FileClass::text, "plain text"},
      {std::string(511, 'a') + "\xc3", FileClass::text, "plain text"},  // a character that is cut
      {"\x80\5"s + kZeros, FileClass::pickle, "a pickle of Python (.pkl, .pt, .bin)"},
      {"\x80\4}\x94."s, FileClass::pickle, "a pickle of Python (.pkl, .pt, .bin)"},
  };
  for (const Case& c : cases) {
    INFO(c.words);
    CHECK(kind_of_weights(c.bytes).name == c.words);
    CHECK(kind_of_weights(c.bytes).type == c.type);
    CHECK(kind(c.bytes).type == FileClass::unknown);
  }
  CHECK(kind_of_weights(kZeros).type == FileClass::unknown);  // anything: the reader says what is wrong with it
  CHECK(kind_of_weights(std::string(600, '\xff')).type == FileClass::unknown);
}

TEST_CASE("no safetensors file is taken for another kind, whatever the length of its header") {
  // As the lengths of headers the first four bytes of every kind; "{", "<" and "abc" are those of small headers.
  std::vector<std::string> lengths = {"\x1f\x8b\x08\0"s, "BZh\0"s, "\x80\2\0\0"s, "{\0\0\0"s, "<\0\0\0"s, "abc\0"s};
  for (const Case& c : known_kinds()) lengths.push_back((c.bytes + kZeros).substr(0, 4));
  for (const std::string& length : lengths)
    for (const char* header : {"{\"a\":", "{}", " {}", "\n{}"}) {
      const std::string beginning = length + "\0\0\0\0"s + header;
      CAPTURE(header, length);
      CHECK(kind_of_weights(beginning).type == FileClass::unknown);
      if (header[1] == '"') CHECK(kind(beginning).type == FileClass::safetensors);
    }
}
