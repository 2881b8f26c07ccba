#include "runtime/base/foreign_file.h"

#include <algorithm>
#include <cctype>

#include "runtime/base/text_check.h"

namespace ddp {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kSpaces = " \t\r\n";
constexpr const char* kFromPickle =
    "if you trust it, convert it in Python: safetensors.torch.save_file(torch.load(FILE, weights_only=True), "
    "\"model.safetensors\")";
constexpr const char* kFromNumpy =
    "convert it in Python: safetensors.numpy.save_file(dict(numpy.load(FILE)), \"model.safetensors\")";
constexpr const char* kUnpack = "unpack it first";
constexpr const char* kOtherFormat = "convert it to safetensors by the tools that wrote it";
constexpr const char* kDownload = "download the file itself: a page of its site, or an error, was saved in its place";

struct Magic {
  std::string_view bytes;
  const char* what;
  const char* hint;
  size_t at = 0;
};
constexpr Magic kMagics[] = {
    {"\x1F\x8B"sv, "compressed by gzip", kUnpack},
    {"\x28\xB5\x2F\xFD"sv, "compressed by zstd", kUnpack},
    {"\xFD\x37zXZ\0"sv, "compressed by xz", kUnpack},
    {"BZh"sv, "compressed by bzip2", kUnpack},
    {"7z\xBC\xAF\x27\x1C"sv, "a 7z archive", kUnpack},
    {"ustar"sv, "a tar archive", kUnpack, 257},
    {"\x93NUMPY"sv, "an array of numpy (.npy)", "gather the weights by their names with safetensors.numpy.save_file"},
    {"GGUF"sv, "a GGUF file, as llama.cpp reads", kOtherFormat},
    {"GGML"sv, "a GGML file", kOtherFormat},
    {"lmgg"sv, "a GGML file", kOtherFormat},
    {"\x89HDF\r\n\x1A\n"sv, "an HDF5 file (.h5)", kOtherFormat},
};

// Old versions of torch.save write pickles, newer ones a zip archive with one in it.
bool is_pickle(std::string_view b) { return b.size() >= 2 && b[0] == '\x80' && b[1] >= 2 && b[1] <= 5; }

ForeignFile of_zip(std::string_view b) {
  constexpr size_t kFirstName = 30, kLengthAt = 26;  // in the header of the first member
  const size_t length =
      b.size() < kFirstName ? 0 : size_t(uint8_t(b[kLengthAt])) | size_t(uint8_t(b[kLengthAt + 1])) << 8;
  const std::string_view name = length == 0 ? "" : b.substr(kFirstName, length);
  if (name.ends_with(".npy")) return {"a zip archive of numpy arrays (.npz)", kFromNumpy};
  if (name.ends_with("/data.pkl") || name.ends_with("/.format_version") || name.ends_with("/byteorder"))
    return {"a pickle in a zip archive, as torch.save writes (pytorch_model.bin, .pt)", kFromPickle};
  if (!name.empty()) return {"a zip archive", kUnpack};
  return {"a zip archive; torch.save writes such (pytorch_model.bin, .pt)", kFromPickle};
}

std::string_view without_spaces(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  return text.substr(std::min(text.size(), text.find_first_not_of(kSpaces)));
}

bool starts_with_any_case(std::string_view text, std::string_view lower) {
  return text.size() >= lower.size() && std::equal(lower.begin(), lower.end(), text.begin(),
                                                   [](char a, char b) { return a == char(std::tolower(uint8_t(b))); });
}

// The end may be in the middle of a character.
bool is_text(std::string_view b) {
  const std::optional<TextFlaw> flaw = find_text_flaw(b, TextForm::block);
  return !flaw || (b.size() == kRecognisedBytes && flaw->at + 4 > b.size() && uint8_t(b[flaw->at]) >= 0xC2);
}

std::optional<ForeignFile> of_text(std::string_view beginning) {
  const std::string_view text = without_spaces(beginning);
  if (text.starts_with("version https://git-lfs") || text.starts_with("version https://hawser"))
    return ForeignFile{"a Git LFS pointer, which stands for the file", "fetch the file: git lfs pull"};
  if (text.starts_with('<')) {
    const bool is_page = starts_with_any_case(text, "<!doctype html") || starts_with_any_case(text, "<html") ||
                         starts_with_any_case(text, "<head");
    return ForeignFile{is_page ? "an HTML page" : "XML or HTML", kDownload};
  }
  if (text.starts_with('{') || text.starts_with('['))
    return ForeignFile{"JSON", "name the weights, or an index of shards (model.safetensors.index.json)"};
  return ForeignFile{"plain text", "name the file of the weights; a failed download may have left its error there"};
}

// A header of less than 4 GiB, and what may begin one behind its length.
bool may_be_safetensors(std::string_view b) {
  return b.size() > 8 && b.substr(4, 4) == "\0\0\0\0"sv && (b[8] == '{' || kSpaces.find(b[8]) != kSpaces.npos);
}

}  // namespace

std::optional<ForeignFile> recognise_foreign(std::string_view beginning) {
  if (beginning.empty()) return ForeignFile{"empty", "its download or copy may have failed: fetch it again"};
  if (may_be_safetensors(beginning)) return std::nullopt;
  for (const Magic& magic : kMagics)
    if (beginning.substr(std::min(beginning.size(), magic.at)).starts_with(magic.bytes))
      return ForeignFile{magic.what, magic.hint};
  if (beginning.starts_with("PK\x03\x04")) return of_zip(beginning);
  if (is_pickle(beginning)) return ForeignFile{"a pickle, as torch.save wrote (pytorch_model.bin, .pt)", kFromPickle};
  return is_text(beginning) ? of_text(beginning) : std::nullopt;
}

bool is_json(std::string_view beginning) {
  return !may_be_safetensors(beginning) && is_text(beginning) && without_spaces(beginning).starts_with('{');
}

}  // namespace ddp
