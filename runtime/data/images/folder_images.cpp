#include "runtime/data/images/folder_images.h"

#include <fmt/core.h>

#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/data/sampler.h"

namespace ddp {
namespace {

constexpr int kScanThreads = 8;                  // they wait more than they compute
constexpr int64_t kMostFileBytes = 256ll << 20;  // what is larger is no picture

std::string index_of(const SourceRequest& request) {
  return index_folder(request.path(), class_names(request.training), kScanThreads, request.still_alive);
}

}  // namespace

FolderImages::FolderImages(FolderIndex index, const SourceRequest& request)
    : DataSource(request.split, request.seed),
      index_(std::move(index)),
      folder_(request.path()),
      on_corrupt_(request.corrupt),
      views_(request) {
  const int64_t classes = request.batch.find("label")->input.limit, channels = request.batch.find("image")->shape[3];
  if (index_.num_classes() > classes)
    throw Error(ExitCode::config,
                fmt::format("{} has {} classes and model.classes is {}", request.training.string(),
                            index_.num_classes(), classes),
                fmt::format("set model.classes to {}", index_.num_classes()));
  if (channels != 1 && channels != 3)
    throw Error(ExitCode::config, fmt::format("data.format images has no pictures of {} channels", channels),
                "set model.channels to 3, or to 1 for grey ones");
}

int64_t FolderImages::num_corrupt() const {
  const std::lock_guard lock(mutex_);
  return int64_t(corrupt_.size());
}

void FolderImages::note_corrupt(int64_t file, const char* what) const {
  const std::lock_guard lock(mutex_);
  if (corrupt_.insert(file).second) log::warn("{}; the next picture of its class takes its place", what);
}

void FolderImages::decode(const FolderIndex::File& file, HostBatch& batch, int64_t i, const Draw& draw) const {
  thread_local PictureScratch scratch;
  const std::filesystem::path path = folder_ / file.folder / file.name;
  if (file.size > kMostFileBytes)
    throw Error(ExitCode::data, fmt::format("{}: {} bytes are no picture", path.string(), file.size));
  batch.raw.resize(size_t(file.size));
  read_exact(open_input(path), batch.raw, 0, path);
  const PixelTarget to = pixels_of(batch, i);
  try {
    const PictureSize size = picture_size(batch.raw);
    const View view = views_.view(size, views_.centre_square(size), draw);
    decode_crop(batch.raw, view.crop, view.flip, to, scratch);
    shift(to, view.down, view.right);
  } catch (const Error& e) {
    throw Error(e.code(), path.string() + ": " + e.what());
  }
}

void FolderImages::fill_sample(HostBatch& batch, int64_t i, const Draw& draw) const {
  const bool shuffled = split() == Split::valid;
  const int64_t sample = shuffled ? sample_index(0, 0, draw.sample, num_samples()) : draw.sample;
  const int64_t label = index_.file(sample).label, first = index_.first_of(label), n = index_.end_of(label) - first;
  batch.sample<int32_t>("label", i)[0] = int32_t(label);
  for (int64_t k = 0; k < n; ++k) {
    const int64_t candidate = first + (sample - first + k) % n;
    try {
      return decode(index_.file(candidate), batch, i, draw);
    } catch (const Error& e) {
      if (e.code() != ExitCode::data) throw;
      if (on_corrupt_ == OnCorrupt::stop) throw Error(e.code(), e.what(), "remove it, or set data.corrupt to skip");
      note_corrupt(candidate, e.what());
    }
  }
  throw Error(
      ExitCode::data,
      fmt::format("{}: none of the {} files is a sound picture", (folder_ / index_.file(sample).folder).string(), n),
      "the rank's log names each with its cause");
}

void prepare_images(const SourceRequest& request) { write_text_atomically(request.index, index_of(request), false); }

std::unique_ptr<DataSource> open_images(const SourceRequest& request) {
  const bool is_prepared = !request.index.empty();
  return std::make_unique<FolderImages>(FolderIndex(is_prepared ? read_text(request.index) : index_of(request),
                                                    is_prepared ? request.index : request.path()),
                                        request);
}

}  // namespace ddp
