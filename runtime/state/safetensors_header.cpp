// The JSON header of a safetensors file, parsed by events: nothing is built but the tensors, and the first token out of
// place ends the parse. What is accepted is what the safetensors library accepts, no more and no less
// (tests/checkpoint/safetensors_library_test.py): its rules are those of its derived deserializer, so that a field that
// it does not know is skipped, a repeated one is refused, and of two tensors of one name the last one counts.
#include <fmt/core.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/text_check.h"
#include "runtime/state/safetensors.h"

namespace ddp {
namespace {

// Objects and arrays in each other, of which the header is the first.
constexpr int kMaxDepth = 127;
// Of what is in a tensor's object, or in the list that may stand for it.
constexpr int kFieldDepth = 2;

struct SavedType {
  std::string_view name;
  uint64_t bits;
};
constexpr SavedType kSavedTypes[] = {
    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"BOOL", 8},        {"U8", 8},          {"I8", 8},
    {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
    {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
    {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64},
};

// 0 for an unknown one.
uint64_t bits_of_type(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kSavedTypes), std::end(kSavedTypes), [&](const auto& t) { return t.name == name; });
  return found == std::end(kSavedTypes) ? 0 : found->bits;
}

// A number that is beyond all that a file can hold stays so.
int64_t clamped(uint64_t value) { return int64_t(std::min(value, uint64_t(std::numeric_limits<int64_t>::max()))); }

struct Entry {
  SavedTensor tensor;
  std::optional<uint64_t> bytes;  // that its dtype and shape make; nothing: more than 64 bits count, or not whole ones
};

// Where in {name: {"dtype": text, "shape": [n...], "data_offsets": [begin, end]}, "__metadata__": {text: text}} the
// parse is. Two forms that nobody writes stand for others: a list of the three values for a tensor's object, and
// {text: null} for the text of a dtype.
class HeaderHandler final : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<Entry> entries;
  std::string problem;  // why the parse stopped

  bool start_object(size_t) override {
    if (++depth_ > kMaxDepth) return too_deep();
    if (place_ == Place::outside) return go(Place::names);
    if (place_ == Place::value_of_name) return go(Place::fields);
    if (place_ == Place::value_of_metadata) return go(Place::metadata);
    if (place_ == Place::dtype) return go(Place::dtype_key);
    return place_ == Place::anything || unexpected("an object");
  }

  bool end_object() override {
    --depth_;
    if (place_ == Place::anything) return end_of_anything();
    if (place_ == Place::names) return go(Place::done);
    if (place_ == Place::metadata) return go(Place::names);
    if (place_ == Place::dtype_end) return end_field();
    return place_ == Place::fields ? end_tensor() : unexpected("}");
  }

  bool key(string_t& name) override {
    if (place_ == Place::anything) return true;
    if (place_ == Place::names) return begin_entry(name);
    if (place_ == Place::metadata) return go(Place::metadata_text);
    if (place_ == Place::dtype_key) return set_dtype(name, Place::dtype_null);
    if (place_ != Place::fields) return unexpected("a second dtype");
    if (name == "dtype") return has_dtype_ ? repeated(name) : go(Place::dtype);
    if (name == "shape") return has_shape_ ? repeated(name) : go(Place::shape);
    if (name == "data_offsets") return has_offsets_ ? repeated(name) : go(Place::offsets);
    return go(Place::anything);
  }

  bool string(string_t& text) override {
    if (place_ == Place::anything) return end_of_anything();
    if (place_ == Place::metadata_text) return go(Place::metadata);
    if (place_ != Place::dtype) return unexpected("a string");
    return set_dtype(text, Place::dtype_end) && end_field();
  }

  bool start_array(size_t) override {
    if (++depth_ > kMaxDepth) return too_deep();
    if (place_ == Place::value_of_name) {
      is_list_ = true;
      return go(Place::dtype);
    }
    if (place_ == Place::shape) return go(Place::in_shape);
    if (place_ == Place::offsets) return go(Place::in_offsets);
    return place_ == Place::anything || unexpected("an array");
  }

  bool end_array() override {
    --depth_;
    if (place_ == Place::anything) return end_of_anything();
    if (place_ != Place::in_shape && place_ != Place::in_offsets) return end_tensor();
    (place_ == Place::in_shape ? has_shape_ : has_offsets_) = true;
    return end_field();
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::anything) return end_of_anything();
    if (place_ == Place::in_offsets) {
      offsets_.push_back(clamped(value));
      return offsets_.size() <= 2 || incomplete();
    }
    if (place_ != Place::in_shape) return unexpected("a number");
    tensor().shape.push_back(clamped(value));
    overflows_ |= __builtin_mul_overflow(numel_, value, &numel_);
    return true;
  }

  bool null() override {
    if (place_ == Place::anything) return end_of_anything();
    if (place_ == Place::value_of_metadata) return go(Place::names);
    return place_ == Place::dtype_null ? go(Place::dtype_end) : unexpected("null");
  }

  bool boolean(bool) override { return any_or("a boolean"); }
  bool number_integer(number_integer_t) override { return any_or("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    return any_or("a number that is not a 64-bit integer");
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
    fields,             // in it, before a field, or at the end of the list that stands for it
    dtype,              // before the value of a field
    shape,              //
    offsets,            //
    anything,           // before or in the value of an unknown field
    dtype_key,          // in {text: null}
    dtype_null,         //
    dtype_end,          //
    in_shape,           // in its array
    in_offsets,         //
    value_of_metadata,  // before its object
    metadata,           // in it, before a key
    metadata_text,      // before the value of a key
    done
  };

  bool begin_entry(const std::string& name) {
    if (name == "__metadata__")
      return std::exchange(has_metadata_, true) ? fail("two __metadata__") : go(Place::value_of_metadata);
    entries.emplace_back().tensor.name = name;
    is_list_ = overflows_ = has_dtype_ = has_shape_ = has_offsets_ = false;
    numel_ = 1;
    offsets_.clear();
    return go(Place::value_of_name);
  }

  bool set_dtype(const std::string& text, Place next) {
    bits_ = bits_of_type(text);
    if (bits_ == 0) return fail("tensor {} has the unknown dtype {}", quoted_name(tensor().name), quoted_name(text));
    tensor().dtype = text;
    has_dtype_ = true;
    return go(next);
  }

  bool end_field() {
    if (!is_list_ || has_offsets_) return go(Place::fields);
    return go(has_shape_ ? Place::offsets : Place::shape);
  }

  bool end_tensor() {
    if (!has_dtype_ || !has_shape_ || offsets_.size() != 2) return incomplete();
    tensor().begin = offsets_[0];
    tensor().end = offsets_[1];
    uint64_t bits = 0;
    overflows_ |= __builtin_mul_overflow(numel_, bits_, &bits);
    if (!overflows_ && bits % 8 == 0) entries.back().bytes = bits / 8;
    return go(Place::names);
  }

  SavedTensor& tensor() { return entries.back().tensor; }

  bool go(Place next) {
    place_ = next;
    return true;
  }

  bool end_of_anything() { return depth_ > kFieldDepth || go(Place::fields); }
  bool any_or(const char* what) { return place_ == Place::anything ? end_of_anything() : unexpected(what); }

  template <class... T>
  bool fail(fmt::format_string<T...> format, T&&... values) {
    problem = fmt::format(format, std::forward<T>(values)...);
    return false;
  }

  bool unexpected(const char* what) { return fail("its header has {} where none belongs", what); }
  bool too_deep() { return fail("its header has more than {} levels", kMaxDepth); }
  bool repeated(const std::string& field) {
    return fail("tensor {} has a repeated field {}", quoted_name(tensor().name), quoted_name(field));
  }
  bool incomplete() { return fail("tensor {} needs dtype, shape and two data_offsets", quoted_name(tensor().name)); }

  Place place_ = Place::outside;
  int depth_ = 0;
  bool is_list_ = false, overflows_ = false, has_metadata_ = false, has_dtype_ = false, has_shape_ = false,
       has_offsets_ = false;
  uint64_t numel_ = 1, bits_ = 0;
  std::vector<int64_t> offsets_;
};

}  // namespace

Error malformed_safetensors(const std::string& file, const std::string& why, const std::string& hint) {
  return Error(ExitCode::data, file + " is not a valid safetensors file: " + why, hint);
}

int64_t SavedTensor::numel() const {
  uint64_t n = 1;
  for (const int64_t dim : shape) n *= uint64_t(dim);
  return int64_t(n);
}

std::vector<SavedTensor> parse_safetensors_header(std::string_view header, int64_t data_bytes,
                                                  const std::string& file) {
  const auto malformed = [&](const std::string& why, const std::string& hint = {}) {
    return malformed_safetensors(file, why, hint);
  };
  if (header.starts_with("\xef\xbb\xbf")) throw malformed("its header begins with a byte order mark");
  // The parser takes a zero byte for the end.
  if (header.find('\0') != header.npos) throw malformed("its header has a zero byte");
  HeaderHandler handler;
  if (!nlohmann::json::sax_parse(header, &handler)) throw malformed(handler.problem);

  std::vector<Entry>& entries = handler.entries;
  const auto has_same_name = [](const Entry& a, const Entry& b) { return a.tensor.name == b.tensor.name; };
  std::reverse(entries.begin(), entries.end());
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.tensor.name < b.tensor.name; });
  entries.erase(std::unique(entries.begin(), entries.end(), has_same_name), entries.end());

  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.tensor.begin, a.tensor.end) < std::pair(b.tensor.begin, b.tensor.end);
  });
  std::vector<SavedTensor> tensors;
  int64_t covered = 0;
  for (auto& [t, bytes] : entries) {
    if (t.begin != covered || t.end < t.begin || t.end > data_bytes)
      throw malformed(
          fmt::format("tensor {} has bytes [{}, {}): they overlap, leave a hole or lie outside the {} bytes of data",
                      quoted_name(t.name), t.begin, t.end, data_bytes),
          t.end > data_bytes ? "it may be cut off: fetch it again" : "");
    if (uint64_t(t.end - t.begin) != bytes)
      throw malformed(fmt::format("tensor {} has {} bytes, which its dtype and shape do not make", quoted_name(t.name),
                                  t.end - t.begin));
    covered = t.end;
    tensors.push_back(std::move(t));
  }
  if (covered != data_bytes) throw malformed(fmt::format("{} bytes of data, its tensors have {}", data_bytes, covered));
  return tensors;
}

}  // namespace ddp
