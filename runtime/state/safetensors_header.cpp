// The JSON header of a safetensors file, parsed by events: nothing is built but the tensors, and the first token out of
// place ends the parse, so that neither depth nor size of a hostile header costs anything.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/state/safetensors.h"

namespace ddp {
namespace {

constexpr size_t kMaxTensors = 65536;
constexpr size_t kMaxDims = 8;

struct SavedType {
  std::string_view name;
  int64_t bytes;
};
constexpr std::array<SavedType, 15> kSavedTypes = {{{"BOOL", 1},
                                                    {"U8", 1},
                                                    {"I8", 1},
                                                    {"F8_E4M3", 1},
                                                    {"F8_E5M2", 1},
                                                    {"I16", 2},
                                                    {"U16", 2},
                                                    {"F16", 2},
                                                    {"BF16", 2},
                                                    {"I32", 4},
                                                    {"U32", 4},
                                                    {"F32", 4},
                                                    {"I64", 8},
                                                    {"U64", 8},
                                                    {"F64", 8}}};

// 0 for an unknown one.
int64_t bytes_of_type(std::string_view name) {
  const auto* found =
      std::find_if(kSavedTypes.begin(), kSavedTypes.end(), [&](const auto& t) { return t.name == name; });
  return found == kSavedTypes.end() ? 0 : found->bytes;
}

// Fit for one line of an error message.
std::string printable(std::string_view name) {
  std::string text = "\"" + std::string(name.substr(0, 80)) + (name.size() > 80 ? "...\"" : "\"");
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

// Where in {name: {"dtype": text, "shape": [n...], "data_offsets": [begin, end]}, "__metadata__": {text: text}} the
// parse is.
class HeaderHandler final : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<SavedTensor> tensors;
  std::string problem;  // why the parse stopped

  bool start_object(size_t) override {
    if (place_ == Place::outside) return go(Place::names);
    if (place_ == Place::value_of_name) return go(Place::fields);
    if (place_ == Place::value_of_metadata) return go(Place::metadata);
    return unexpected("an object");
  }

  bool end_object() override {
    if (place_ == Place::names) return go(Place::done);
    if (place_ == Place::metadata) return go(Place::names);
    if (place_ != Place::fields) return unexpected("}");
    if (!has_dtype_ || !has_shape_ || offsets_.size() != 2)
      return fail("tensor {} needs dtype, shape and two data_offsets", printable(tensors.back().name));
    tensors.back().begin = offsets_[0];
    tensors.back().end = offsets_[1];
    return go(Place::names);
  }

  bool key(string_t& name) override {
    if (place_ == Place::names) return begin_entry(name);
    if (place_ == Place::metadata) {
      if (!metadata_keys_.insert(name).second) return fail("metadata key {} is there twice", printable(name));
      return go(Place::metadata_text);
    }
    if (name == "dtype" && !has_dtype_) return go(Place::dtype);
    if (name == "shape" && !has_shape_) return go(Place::shape);
    if (name == "data_offsets" && !has_offsets_) return go(Place::offsets);
    return fail("tensor {} has an unknown or repeated field {}", printable(tensors.back().name), printable(name));
  }

  bool string(string_t& text) override {
    if (place_ == Place::metadata_text) return go(Place::metadata);
    if (place_ != Place::dtype) return unexpected("a string");
    if (bytes_of_type(text) == 0)
      return fail("tensor {} has the unknown dtype {}", printable(tensors.back().name), printable(text));
    tensors.back().dtype = text;
    has_dtype_ = true;
    return go(Place::fields);
  }

  bool start_array(size_t) override {
    if (place_ == Place::shape) return go(Place::in_shape);
    if (place_ == Place::offsets) return go(Place::in_offsets);
    return unexpected("an array");
  }

  bool end_array() override {
    (place_ == Place::in_shape ? has_shape_ : has_offsets_) = true;
    return go(Place::fields);
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::in_shape && place_ != Place::in_offsets) return unexpected("a number");
    const bool in_shape = place_ == Place::in_shape;
    std::vector<int64_t>& list = in_shape ? tensors.back().shape : offsets_;
    if (list.size() == (in_shape ? kMaxDims : 2) || value > uint64_t(std::numeric_limits<int64_t>::max()))
      return fail("tensor {} has too many or too large numbers in {}", printable(tensors.back().name),
                  in_shape ? "shape" : "data_offsets");
    list.push_back(int64_t(value));
    return true;
  }

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { return unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    return unexpected("a number that is not a 64-bit integer");
  }
  bool binary(binary_t&) override { return unexpected("binary data"); }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    return fail("its header is no valid JSON at byte {}", position);
  }

 private:
  enum class Place {
    outside,            // before the header's object
    names,              // in it, before a name
    value_of_name,      // before a tensor's object
    fields,             // in it, before a field
    dtype,              // before its value
    shape,              // before its value
    offsets,            // before its value
    in_shape,           // in the array
    in_offsets,         // in the array
    value_of_metadata,  // before the metadata's object
    metadata,           // in it, before a key
    metadata_text,      // before its value
    done
  };

  bool begin_entry(const std::string& name) {
    if (name == "__metadata__")
      return std::exchange(has_metadata_, true) ? fail("two __metadata__") : go(Place::value_of_metadata);
    if (tensors.size() == kMaxTensors) return fail("more than {} tensors", kMaxTensors);
    tensors.emplace_back().name = name;
    has_dtype_ = has_shape_ = has_offsets_ = false;
    offsets_.clear();
    return go(Place::value_of_name);
  }

  bool go(Place next) {
    place_ = next;
    return true;
  }

  template <class... T>
  bool fail(fmt::format_string<T...> format, T&&... values) {
    problem = fmt::format(format, std::forward<T>(values)...);
    return false;
  }

  bool unexpected(const char* what) { return fail("its header has {} where none belongs", what); }

  Place place_ = Place::outside;
  bool has_metadata_ = false, has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
  std::vector<int64_t> offsets_;
  std::set<std::string> metadata_keys_;
};

// -1 when it does not fit 64 bits.
int64_t bytes_of(const SavedTensor& tensor) {
  int64_t n = bytes_of_type(tensor.dtype);
  for (int64_t d : tensor.shape)
    if (__builtin_mul_overflow(n, d, &n)) return -1;
  return n;
}

}  // namespace

Error malformed_safetensors(const std::string& file, const std::string& why) {
  return Error(ExitCode::data, file + " is not a valid safetensors file: " + why);
}

int64_t SavedTensor::numel() const { return (end - begin) / bytes_of_type(dtype); }

std::vector<SavedTensor> parse_safetensors_header(std::string_view header, int64_t data_bytes,
                                                  const std::string& file) {
  const auto malformed = [&](const std::string& why) { return malformed_safetensors(file, why); };
  if (!header.starts_with('{')) throw malformed("its header does not start with {");
  // The parser takes a zero byte for the end.
  if (header.find('\0') != header.npos) throw malformed("its header has a zero byte");
  HeaderHandler handler;
  if (!nlohmann::json::sax_parse(header, &handler)) throw malformed(handler.problem);
  std::vector<SavedTensor> tensors = std::move(handler.tensors);

  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  const auto twice =
      std::adjacent_find(tensors.begin(), tensors.end(), [](auto& a, auto& b) { return a.name == b.name; });
  if (twice != tensors.end()) throw malformed(fmt::format("tensor {} is there twice", printable(twice->name)));

  std::stable_sort(tensors.begin(), tensors.end(),
                   [](const auto& a, const auto& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  int64_t covered = 0;
  for (const SavedTensor& t : tensors) {
    if (t.begin != covered || t.end < t.begin || t.end > data_bytes)
      throw malformed(
          fmt::format("tensor {} has bytes [{}, {}): they overlap, leave a hole or lie outside the {} bytes of data",
                      printable(t.name), t.begin, t.end, data_bytes));
    if (t.end - t.begin != bytes_of(t))
      throw malformed(fmt::format("tensor {} has {} bytes, which its dtype and shape do not make", printable(t.name),
                                  t.end - t.begin));
    covered = t.end;
  }
  if (covered != data_bytes) throw malformed(fmt::format("{} bytes of data, its tensors have {}", data_bytes, covered));
  return tensors;
}

}  // namespace ddp
