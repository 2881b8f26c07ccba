// A folder of pictures as a DataSource: data.format images, ImageNet's layout, a folder for each class. A file is read
// whole when its sample is due; nothing is kept of it.
#pragma once

#include <mutex>
#include <set>

#include "runtime/base/fs.h"
#include "runtime/data/data_source.h"
#include "runtime/data/images/folder_index.h"
#include "runtime/data/images/view.h"

namespace ddp {

class FolderImages final : public DataSource {
 public:
  // Errors: config (78) where the model has fewer classes than the folder, or images that are neither grey nor RGB.
  FolderImages(FolderIndex index, const SourceRequest& request);

  // Evaluation has the files shuffled, always alike: they are ordered by class, and part of them is to be of all.
  int64_t num_samples() const override { return index_.num_files(); }
  std::string fingerprint() const override { return index_.fingerprint(); }
  int64_t num_corrupt() const override;

 private:
  // Where data.corrupt is skip, a file that is no sound picture has the next of its class in its place, with the
  // random numbers of its own. Errors beside fill_sample's: no_input (66) where a file cannot be opened.
  void fill_sample(HostBatch& batch, int64_t i, const Draw& draw) const override;
  // Errors: data (65) naming the file when it is no sound picture.
  void decode(const FolderIndex::File& file, HostBatch& batch, int64_t i, const Draw& draw) const;
  void note_corrupt(int64_t file, const char* what) const;

  FolderIndex index_;
  std::filesystem::path folder_;
  OnCorrupt on_corrupt_;
  Views views_;
  mutable std::mutex mutex_;
  mutable std::set<int64_t> corrupt_;  // files that were met so far
};

// Writes the index of the folder at request.index; classes are those of request.training. Errors: no_input (66), data
// (65), io (74).
void prepare_images(const SourceRequest& request);
// Reads it.
std::unique_ptr<DataSource> open_images(const SourceRequest& request);

}  // namespace ddp
