#include "runtime/base/file_kind.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <string>

#include "runtime/base/text_check.h"

namespace ddp {
namespace {

using namespace std::string_view_literals;

struct Signature {
  std::string_view bytes, kind;
  size_t at = 0;
};

constexpr Signature kSignatures[] = {
    {"\x93NUMPY"sv, "a NumPy array (.npy)"},
    {"PK\3\4"sv, "a zip archive (.zip, .npz, .pt)"},
    {"PK\5\6"sv, "a zip archive (.zip, .npz, .pt)"},
    {"\x1f\x8b\x08"sv, "a gzip archive"},
    {"\x28\xb5\x2f\xfd"sv, "a zstd archive"},
    {"\xfd"
     "7zXZ\0"sv,
     "an xz archive"},
    {"\x04\x22\x4d\x18"sv, "an lz4 archive"},
    {"7z\xbc\xaf\x27\x1c"sv, "a 7z archive"},
    {"Rar!\x1a\x07"sv, "a rar archive"},
    {"ustar"sv, "a tar archive", 257},
    {"\x89HDF\r\n\x1a\n"sv, "an HDF5 file"},
    {"ARROW1\0\0"sv, "an Arrow file"},
    {"MMIDIDX\0\0"sv, "Megatron's index (.idx) of a token file (.bin)"},
    {"\x7f"
     "ELF"sv,
     "a program (ELF)"},
    {"\x89PNG\r\n\x1a\n"sv, "a PNG picture"},
    {"SQLite format 3\0"sv, "an SQLite database"},
    {"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20"sv, "a pickle of PyTorch (.pt)"},
};

// What is plain ASCII at its begin, as a text may be: there, too, a binary file shows other bytes soon.
constexpr Signature kReadableSignatures[] = {
    {"PAR1"sv, "a Parquet file"},
    {"GGUF"sv, "a GGUF file"},
    {"FEA1"sv, "a Feather file"},
    {"BZh"sv, "a bzip2 archive"},
    {"RIFF"sv, "a RIFF file (sound, video or WebP)"},
    {"GIF8"sv, "a GIF picture"},
    {"%PDF-"sv, "a PDF document"},
    {"Obj\1"sv, "an Avro file"},
};

constexpr Signature kTexts[] = {
    {"version https://git-lfs.github.com/spec/"sv, kLfsPointer},
    {"<!doctype html"sv, "a web page (HTML)"},
    {"<html"sv, "a web page (HTML)"},
    {"<?xml"sv, "XML text"},
    {"{\""sv, "JSON text"},
    {"[{"sv, "JSON text"},
    {"[\""sv, "JSON text"},
};

constexpr std::string_view kWhite = " \t\r\n";

bool has(std::string_view bytes, const Signature& s) {
  return bytes.size() >= s.at && bytes.substr(s.at).starts_with(s.bytes);
}

std::string_view find_in(std::span<const Signature> signatures, std::string_view bytes) {
  const auto found = std::ranges::find_if(signatures, [&](const Signature& s) { return has(bytes, s); });
  return found == signatures.end() ? std::string_view() : found->kind;
}

std::string_view kind_of_text(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  text.remove_prefix(std::min(text.find_first_not_of(kWhite), text.size()));
  std::string lower;  // and without white space where JSON may have some
  for (const char c : text.substr(0, 64))
    if (kWhite.find(c) == kWhite.npos || lower.size() > 2) lower += char(std::tolower(uint8_t(c)));
  return find_in(kTexts, lower);
}

// Protocol 2 or 3 with an opcode that begins a container or a global; protocol 4 or 5 with its first frame.
bool is_pickle(std::string_view b) {
  if (b.size() < 11 || b[0] != '\x80') return false;
  const auto is_letter = [](char c) { return std::isalpha(uint8_t(c)) != 0 || c == '_'; };
  if (b[1] == 2 || b[1] == 3)
    return ((b[2] == '}' || b[2] == ']') && b[3] == 'q' && b[4] == 0) ||
           (b[2] == 'c' && std::all_of(b.begin() + 3, b.begin() + 8, is_letter));
  return (b[1] == 4 || b[1] == 5) && b[2] == '\x95' && b.substr(7, 4) == "\0\0\0\0"sv;
}

// The length of its header, which is far below 4 GiB, and the header: a JSON object.
bool is_safetensors(std::string_view b) { return b.size() > 10 && b.substr(4, 6) == "\0\0\0\0{\""sv; }

// A stream of Arrow: the mark, the length of the first message, and the root of that.
bool is_arrow_stream(std::string_view b) {
  return b.size() > 12 && b.starts_with("\xff\xff\xff\xff"sv) && b.substr(6, 6) == "\0\0\x10\0\0\0"sv;
}

bool is_jpeg(std::string_view b) {
  return b.starts_with("\xff\xd8\xff"sv) && b.size() > 3 && (uint8_t(b[3]) >> 4 == 0xE || b[3] == '\xdb');
}

// Of a mark of byte order and ASCII.
bool is_utf16(std::string_view b) {
  if (b.size() < 8 || (!b.starts_with("\xff\xfe"sv) && !b.starts_with("\xfe\xff"sv))) return false;
  const size_t low = b[0] == '\xff' ? 2 : 3, high = 5 - low;
  for (size_t i = 0; i < 6; i += 2)
    if (std::isprint(uint8_t(b[low + i])) == 0 || b[high + i] != 0) return false;
  return true;
}

std::string_view as_chars(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

std::string_view kind_of_file(std::span<const std::byte> first_bytes) {
  const std::span<const std::byte> first = first_bytes.first(std::min(first_bytes.size(), kKindBytes));
  const std::string_view bytes = as_chars(first);
  if (is_text(first)) return kind_of_text(bytes);
  if (const std::string_view kind = find_in(kSignatures, bytes); !kind.empty()) return kind;
  if (const std::string_view kind = find_in(kReadableSignatures, bytes); !kind.empty()) return kind;
  if (is_pickle(bytes)) return "a pickle of Python (.pkl, .pt)";
  if (is_safetensors(bytes)) return kSafetensors;
  if (is_arrow_stream(bytes)) return "a stream of Arrow (.arrow)";
  if (is_jpeg(bytes)) return "a JPEG picture";
  if (is_utf16(bytes)) return kUtf16;
  return {};
}

bool is_text(std::span<const std::byte> bytes) {
  constexpr size_t kLongestCharacter = 4;
  constexpr double kMostlyAscii = 0.9;
  const std::string_view text = as_chars(bytes);
  size_t num_ascii = 0;
  for (const char c : text) {
    const auto byte = uint8_t(c);
    if ((byte < 0x20 && !(c >= '\t' && c <= '\r')) || byte == 0x7f) return false;
    num_ascii += byte < 0x80;
  }
  if (double(num_ascii) >= kMostlyAscii * double(text.size())) return true;
  // UTF-8, from the first whole character on.
  std::string_view whole = text;
  while (!whole.empty() && text.size() - whole.size() < kLongestCharacter && (uint8_t(whole[0]) & 0xC0) == 0x80)
    whole.remove_prefix(1);
  const auto flaw = find_text_flaw(whole, TextForm::block);
  return !flaw || flaw->at + kLongestCharacter > whole.size() || !flaw->what.starts_with("the byte");
}

}  // namespace ddp
