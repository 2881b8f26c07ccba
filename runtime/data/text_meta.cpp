#include "runtime/data/text_meta.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "runtime/base/error.h"
#include "runtime/base/fs.h"
#include "runtime/base/text_check.h"

namespace ddp {
namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 4;
constexpr int64_t kMaxBytes = 1 << 20;
constexpr size_t kQuoted = 60;  // bytes of a value in a message
constexpr const char* kHint = "scripts/prepare_text.py writes it";

// A value with the name that errors call it by: "files.train.bin.tokens".
struct Entry {
  const Json& value;
  std::string name;

  Entry at(const char* key) const {
    const auto found = value.find(key);
    if (found == value.end()) throw std::invalid_argument(fmt::format("has no {}", name_of(key)));
    return {*found, name_of(key)};
  }
  const Entry& object() const {
    if (!value.is_object()) fail("an object");
    return *this;
  }
  int64_t integer(int64_t least, int64_t most) const {
    if (!value.is_number_unsigned() || value.get<uint64_t>() < uint64_t(least) ||
        value.get<uint64_t>() > uint64_t(most))
      fail(fmt::format("an integer from {} to {}", least, most));
    return value.get<int64_t>();
  }
  std::string name_of(const std::string& key) const { return one_line(name.empty() ? key : name + "." + key, kQuoted); }
  [[noreturn]] void fail(const std::string& wanted) const {
    throw std::invalid_argument(fmt::format("says {} where {} takes {}", one_line(value.dump(), kQuoted),
                                            name.empty() ? "the whole" : name, wanted));
  }
};

TextMeta meta_of(const Json& json) {
  const Entry root{json, ""};
  TextMeta meta;
  meta.vocab = root.object().at("vocab").integer(1, INT32_MAX);
  const Entry special = root.at("special"), files = root.at("files");
  for (const auto& [name, id] : special.object().value.items())
    meta.special[name] = int32_t(Entry{id, special.name_of(name)}.integer(0, meta.vocab - 1));
  for (const auto& [name, value] : files.object().value.items()) {
    const Entry file{value, files.name_of(name)};
    meta.files[name] = {file.object().at("tokens").integer(0, INT64_MAX), file.at("bytes").integer(0, INT64_MAX)};
  }
  return meta;
}

}  // namespace

TextMeta parse_text_meta(const std::string& text, const std::string& file) {
  try {
    // The parser takes a zero byte for the end.
    if (text.find('\0') != text.npos) throw std::invalid_argument("has a zero byte");
    return meta_of(Json::parse(text, [](int depth, Json::parse_event_t, Json&) {
      if (depth > kMaxDepth) throw std::invalid_argument("is nested too deeply");
      return true;
    }));
  } catch (const Json::parse_error& where) {
    throw Error(ExitCode::data, fmt::format("{} is no JSON at byte {}", file, where.byte), kHint);
  } catch (const Json::out_of_range&) {
    throw Error(ExitCode::data, file + " has a number that is too large", kHint);
  } catch (const std::invalid_argument& why) {
    throw Error(ExitCode::data, fmt::format("{} {}", file, why.what()), kHint);
  }
}

std::filesystem::path text_meta_path(const std::filesystem::path& tokens) { return tokens.parent_path() / "meta.json"; }

std::optional<TextMeta> read_text_meta(const std::filesystem::path& tokens, int64_t num_tokens) {
  const std::filesystem::path path = text_meta_path(tokens);
  if (std::error_code error; !std::filesystem::exists(path, error) && !error) return std::nullopt;
  const Fd fd = open_input(path);
  const int64_t size = file_size(fd, path);
  if (size > kMaxBytes)
    throw Error(ExitCode::data, fmt::format("{} has {} bytes, at most {} are read", path.string(), size, kMaxBytes),
                kHint);
  std::string text(size_t(size), '\0');
  read_exact(fd, std::as_writable_bytes(std::span(text)), 0, path);
  TextMeta meta = parse_text_meta(text, path.string());
  const TextMeta::File* file = meta.find(tokens);
  if (file != nullptr && file->tokens != num_tokens)
    throw Error(ExitCode::data,
                fmt::format("{} says that {} has {} tokens, it holds {}", path.string(), tokens.filename().string(),
                            file->tokens, num_tokens),
                "write both anew with scripts/prepare_text.py, or move the file to a folder of its own");
  return meta;
}

const TextMeta::File* TextMeta::find(const std::filesystem::path& tokens) const {
  const auto file = files.find(tokens.filename().string());
  return file == files.end() ? nullptr : &file->second;
}

}  // namespace ddp
