#include "runtime/data/images/idx.h"

#include <fmt/core.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <climits>

#include "runtime/base/error.h"
#include "runtime/base/fs.h"
#include "runtime/data/images/memory_images.h"

namespace ddp {
namespace {

constexpr uint32_t kMagic = 0x800;       // of u8; the number of dimensions is added
constexpr int64_t kMostInflated = 1032;  // bytes that a byte of deflate can become
constexpr int64_t kPieceBytes = 64 << 20;

// Reads a file from its beginning, inflated where it is compressed.
class GzipReader {
 public:
  explicit GzipReader(const std::filesystem::path& path) : path_(path) {
    Fd fd = open_input(path);
    size_bytes_ = ddp::file_size(fd, path);
    file_.reset(::gzdopen(fd.get(), "rb"));
    if (!file_) throw Error(ExitCode::os_resource, "no memory to read " + path.string());
    fd.release();
  }
  int64_t file_bytes() const { return size_bytes_; }
  // That it can hold, at most.
  int64_t most_bytes() const { return ::gzdirect(file_.get()) != 0 ? size_bytes_ : size_bytes_ * kMostInflated; }

  // The next bytes. Errors: data (65) where there are fewer or they are corrupt; io (74).
  void read(std::span<uint8_t> out) {
    while (!out.empty()) {
      const size_t n = read_some(out.first(std::min<size_t>(out.size(), INT_MAX)));
      if (n == 0) throw Error(ExitCode::data, path_.string() + " ends early", "was it cut off?");
      out = out.subspan(n);
    }
  }
  // Nothing follows, and the checksum is right. Errors: as read.
  bool is_at_end() {
    uint8_t next;
    return read_some({&next, 1}) == 0;
  }

 private:
  size_t read_some(std::span<uint8_t> out) {
    const int n = ::gzread(file_.get(), out.data(), unsigned(out.size()));
    int error = Z_OK;
    const char* text = ::gzerror(file_.get(), &error);
    if (error == Z_ERRNO) throw Error(ExitCode::io, "cannot read " + path_.string() + ": " + errno_text(errno));
    if (n < 0 || (error != Z_OK && error != Z_STREAM_END))
      throw Error(ExitCode::data, fmt::format("{} is corrupt: {}", path_.string(), text), "fetch it again");
    return size_t(n);
  }

  struct Close {
    void operator()(gzFile file) const { ::gzclose(file); }
  };
  std::filesystem::path path_;
  int64_t size_bytes_ = 0;
  std::unique_ptr<gzFile_s, Close> file_;
};

template <size_t kDims>
struct Idx {
  std::array<int64_t, kDims> dims;
  std::vector<uint8_t> values;
};

template <size_t kDims>
Idx<kDims> read_idx(const std::filesystem::path& path) {
  GzipReader file(path);
  const auto read_number = [&file] {
    std::array<uint8_t, 4> b;
    file.read(b);
    return uint32_t(b[0]) << 24 | uint32_t(b[1]) << 16 | uint32_t(b[2]) << 8 | uint32_t(b[3]);
  };
  if (const uint32_t magic = read_number(); magic != kMagic + kDims)
    throw Error(ExitCode::data,
                fmt::format("{} begins with {:#010x} and not with {:#010x}, as IDX files of {} do", path.string(),
                            magic, kMagic + kDims, kDims == 1 ? "labels" : "pictures"),
                "is data.format wrong?");
  Idx<kDims> idx;
  const int64_t most = file.most_bytes();
  int64_t size = 1;
  for (int64_t& dim : idx.dims) {
    dim = read_number();
    if (dim < 1 || dim > most / size)
      throw Error(ExitCode::data, fmt::format("{}: a header of {} in a file of {} bytes", path.string(),
                                              dim < 1 ? "no values" : "more values than fit", file.file_bytes()));
    size *= dim;
  }
  while (int64_t(idx.values.size()) < size) {  // what a header promises is not taken before it comes
    const size_t begin = idx.values.size(), n = size_t(std::min(size - int64_t(begin), kPieceBytes));
    idx.values.resize(begin + n);
    file.read(std::span(idx.values).subspan(begin));
  }
  if (!file.is_at_end())
    throw Error(ExitCode::data, fmt::format("{} is longer than the {} values of its header", path.string(), size));
  return idx;
}

std::filesystem::path labels_beside(const std::filesystem::path& pictures) {
  std::string name = pictures.filename().string();
  using Word = std::string_view;
  for (const auto& [from, to] : {std::pair<Word, Word>("images", "labels"), {"idx3", "idx1"}}) {
    const size_t at = name.find(from);
    if (at == std::string::npos)
      throw Error(
          ExitCode::no_input,
          fmt::format("{}: the labels beside it cannot be told, its name has no \"{}\"", pictures.string(), from),
          "name them as in train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz");
    name.replace(at, from.size(), to);
  }
  return pictures.parent_path() / name;
}

}  // namespace

std::unique_ptr<DataSource> open_idx(const SourceRequest& request) {
  const std::filesystem::path labels_path = labels_beside(request.path());
  Idx<3> pictures = read_idx<3>(request.path());
  Idx<1> labels = read_idx<1>(labels_path);
  if (pictures.dims[0] != labels.dims[0])
    throw Error(ExitCode::data,
                fmt::format("{} has {} pictures and {} has {} labels", request.path().string(), pictures.dims[0],
                            labels_path.string(), labels.dims[0]),
                "do they belong together?");
  check_labels(labels.values, request, labels_path);
  return std::make_unique<MemoryImages>(ImageSet{.height = pictures.dims[1],
                                                 .width = pictures.dims[2],
                                                 .channels = 1,
                                                 .pixels = std::move(pictures.values),
                                                 .labels = std::move(labels.values)},
                                        request);
}

}  // namespace ddp
