#include "runtime/base/file_kind.h"

#include <algorithm>
#include <cctype>
#include <cstdint>

#include "runtime/base/text_check.h"

namespace ddp {
namespace {

using namespace std::string_view_literals;

constexpr FileKind packed(std::string_view name) { return {FileClass::packed, name}; }
constexpr FileKind other(std::string_view name) { return {FileClass::other, name}; }
constexpr FileKind weights(std::string_view name) { return {FileClass::weights, name}; }

constexpr FileKind kSafetensors = {FileClass::safetensors, "a safetensors file"};
constexpr FileKind kPickle = {FileClass::pickle, "a pickle of Python (.pkl, .pt, .bin)"};
constexpr FileKind kTorchPickle = {FileClass::pickle, "a pickle of PyTorch (.pt, .bin)"};
constexpr FileKind kTorchZip = {FileClass::pickle, "a zip archive with a pickle, as torch.save writes (.pt, .bin)"};
constexpr FileKind kNumpyZip = {FileClass::numpy_arrays, "a zip archive of NumPy arrays (.npz)"};
constexpr FileKind kPointer = {FileClass::lfs_pointer,
                               "a Git LFS pointer, which stands for a file that was not fetched"};
constexpr FileKind kPage = {FileClass::web_page, "a web page (HTML)"};

struct Signature {
  std::string_view bytes;
  FileKind kind;
  size_t at = 0;
};

// Of what is no text. Some are plain ASCII, as a text may begin, but a binary file shows other bytes soon.
constexpr Signature kSignatures[] = {
    {"\x93NUMPY"sv, {FileClass::numpy_array, "a NumPy array (.npy)"}},
    {"PK\5\6"sv, packed("a zip archive")},  // without members
    {"\x1f\x8b\x08"sv, packed("a gzip archive")},
    {"\x28\xb5\x2f\xfd"sv, packed("a zstd archive")},
    {"\xfd\x37zXZ\0"sv, packed("an xz archive")},
    {"\x04\x22\x4d\x18"sv, packed("an lz4 archive")},
    {"7z\xbc\xaf\x27\x1c"sv, packed("a 7z archive")},
    {"Rar!\x1a\x07"sv, packed("a rar archive")},
    {"ustar"sv, packed("a tar archive"), 257},
    {"\x89HDF\r\n\x1a\n"sv, weights("an HDF5 file (.h5)")},
    {"ARROW1\0\0"sv, other("an Arrow file")},
    {"MMIDIDX\0\0"sv, other("Megatron's index (.idx) of a token file (.bin)")},
    {"\x7f\x45LF"sv, other("a program (ELF)")},
    {"\x89PNG\r\n\x1a\n"sv, other("a PNG picture")},
    {"SQLite format 3\0"sv, other("an SQLite database")},
    {"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20"sv, kTorchPickle},
    {"GGUF"sv, weights("a GGUF file, as llama.cpp reads")},
    {"GGML"sv, weights("a GGML file")},
    {"lmgg"sv, weights("a GGML file")},  // the same as a little-endian number
    {"PAR1"sv, other("a Parquet file")},
    {"FEA1"sv, other("a Feather file")},
    {"Obj\1"sv, other("an Avro file")},
    {"BZh"sv, packed("a bzip2 archive")},
    {"RIFF"sv, other("a RIFF file (sound, video or WebP)")},
    {"GIF8"sv, other("a GIF picture")},
    {"%PDF-"sv, other("a PDF document")},
};

// In any case of letters.
constexpr Signature kTexts[] = {
    {"version https://git-lfs"sv, kPointer},
    {"version https://hawser"sv, kPointer},  // its name before its first release
    {"<!doctype html"sv, kPage},
    {"<html"sv, kPage},
    {"<head"sv, kPage},
    {"<?xml"sv, {FileClass::web_page, "XML text"}},
};

// Of protocols 0 and 1, which have no mark: what dictionaries, lists and weights begin with.
constexpr std::string_view kOldPickles[] = {
    "(dp0\n"sv,
    "(dp1\n"sv,
    "(lp0\n"sv,
    "(lp1\n"sv,
    "}q\0("sv,
    "}q\0X"sv,
    "}q\1("sv,
    "]q\0("sv,
    "]q\0X"sv,
    "]q\0]"sv,
    "]q\1("sv,
    "ccollections\nOrderedDict\n"sv,
    "ccopy_reg\n_reconstructor\n"sv,
    "cnumpy.core.multiarray\n_reconstruct\n"sv,
    "cnumpy._core.multiarray\n_reconstruct\n"sv,
    "ctorch._utils\n_rebuild_"sv,
};

constexpr std::string_view kWhite = " \t\r\n";

std::string_view without_white(std::string_view text) {
  return text.substr(std::min(text.find_first_not_of(kWhite), text.size()));
}

bool starts_with_any_case(std::string_view text, std::string_view lower) {
  return text.size() >= lower.size() && std::equal(lower.begin(), lower.end(), text.begin(),
                                                   [](char a, char b) { return a == char(std::tolower(uint8_t(b))); });
}

FileKind find_in(std::span<const Signature> signatures, std::string_view bytes) {
  const auto found = std::ranges::find_if(
      signatures, [&](const Signature& s) { return bytes.size() >= s.at && bytes.substr(s.at).starts_with(s.bytes); });
  return found == signatures.end() ? FileKind() : found->kind;
}

// Of text that begins an object or an array: what comes next is JSON's too, which it is not in "{curly}", "[Music]" or
// "[12:30]".
bool is_json(std::string_view text) {
  const std::string_view inside = without_white(text.substr(1));
  if (inside.empty()) return true;  // cut off
  if (text[0] == '{') return inside[0] == '"' || inside[0] == '}';
  if (inside[0] == '{' || inside[0] == '[') return is_json(inside);
  if (inside[0] == '"') return true;
  const size_t number_end = std::min(inside.find_first_not_of("-.0123456789"), inside.size());
  return (inside[0] == '-' || std::isdigit(uint8_t(inside[0])) != 0) && inside.substr(number_end).starts_with(',');
}

FileKind kind_of_text(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  text = without_white(text);
  if (text.starts_with('{') && is_json(text)) return {FileClass::json_object, "JSON text"};
  if (text.starts_with('[') && is_json(text)) return {FileClass::json_array, "JSON text"};
  const auto* found =
      std::ranges::find_if(kTexts, [&](const Signature& s) { return starts_with_any_case(text, s.bytes); });
  return found == std::end(kTexts) ? FileKind() : found->kind;
}

bool has_pickle_mark(std::string_view b) { return b.size() >= 2 && b[0] == '\x80' && b[1] >= 2 && b[1] <= 5; }

// The mark alone may be a token: behind it protocols 2 and 3 have a container or a global, 4 and 5 their first frame.
bool is_pickle(std::string_view b) {
  if (std::ranges::any_of(kOldPickles, [&](std::string_view begin) { return b.starts_with(begin); })) return true;
  if (!has_pickle_mark(b)) return false;
  const std::string_view body = b.substr(2);
  if (b[1] >= 4) return body.starts_with('\x95') && body.size() > 8 && body.substr(5, 4) == "\0\0\0\0"sv;
  const auto is_letter = [](char c) { return std::isalpha(uint8_t(c)) != 0 || c == '_'; };
  return body.starts_with("}q\0"sv) || body.starts_with("}q\1"sv) || body.starts_with("]q\0"sv) ||
         body.starts_with("]q\1"sv) ||
         (body.size() > 5 && body[0] == 'c' && std::all_of(body.begin() + 1, body.begin() + 6, is_letter));
}

// By the name of its first member.
FileKind kind_of_zip(std::string_view b) {
  constexpr size_t kName = 30, kNameLength = 26;  // where they stand
  const size_t length =
      b.size() < kName ? 0 : size_t(uint8_t(b[kNameLength])) | size_t(uint8_t(b[kNameLength + 1])) << 8;
  const std::string_view name = length == 0 ? ""sv : b.substr(kName, length);
  if (name.ends_with(".npy")) return kNumpyZip;
  for (const std::string_view of_torch : {"/data.pkl"sv, "/.format_version"sv, "/byteorder"sv})
    if (name.ends_with(of_torch)) return kTorchZip;
  return packed("a zip archive");
}

// The length of its header, which is far below 4 GiB, and the header: a JSON object.
bool is_safetensors(std::string_view b) { return b.size() > 9 && b.substr(4, 6) == "\0\0\0\0{\""sv; }

// White space may come before the object. Too little to call it one, as tokens may begin so, too.
bool may_be_safetensors(std::string_view b) {
  return b.size() > 8 && b.substr(4, 4) == "\0\0\0\0"sv && (b[8] == '{' || kWhite.find(b[8]) != kWhite.npos);
}

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

std::vector<std::byte> first_bytes(const Fd& file, const std::filesystem::path& path) {
  std::vector<std::byte> bytes(size_t(std::min(file_size(file, path), int64_t(kKindBytes))));
  read_exact(file, bytes, 0, path);
  return bytes;
}

FileKind kind_of_file(std::span<const std::byte> first_bytes) {
  const std::span<const std::byte> first = first_bytes.first(std::min(first_bytes.size(), kKindBytes));
  const std::string_view bytes = as_chars(first);
  if (is_safetensors(bytes)) return kSafetensors;
  if (is_pickle(bytes)) return kPickle;  // which the oldest are as text
  if (is_text(first)) return kind_of_text(bytes);
  if (const FileKind kind = find_in(kSignatures, bytes); kind.type != FileClass::unknown) return kind;
  if (bytes.starts_with("PK\3\4"sv)) return kind_of_zip(bytes);
  if (is_arrow_stream(bytes)) return other("a stream of Arrow (.arrow)");
  if (is_jpeg(bytes)) return other("a JPEG picture");
  if (is_utf16(bytes)) return {FileClass::text, "text in UTF-16"};
  return {};
}

FileKind kind_if_not_safetensors(std::span<const std::byte> first_bytes) {
  const std::string_view bytes = as_chars(first_bytes);
  if (bytes.empty()) return {FileClass::empty, "empty"};
  if (may_be_safetensors(bytes)) return {};
  if (const FileKind kind = kind_of_file(first_bytes); kind.type != FileClass::unknown) return kind;
  if (has_pickle_mark(bytes)) return kPickle;
  return is_text(first_bytes) ? FileKind{FileClass::text, "plain text"} : FileKind();
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
