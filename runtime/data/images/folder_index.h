// What a folder of pictures holds: a folder for each class, and in it the pictures. One rank looks it through and
// writes down what it found; the others, and it, read that: a million files are listed once, every rank numbers them
// alike, and a hash of the list tells a resume whether they changed.
//
// The file: a version, then for each class its name and number of files, then for each file, by class and then by name,
// its name and size; text, each ended by a zero byte, which no name holds. In memory it stays as it is, so that a file
// costs its name and 12 bytes or so.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ddp {

// Names of the folders in `folder`, by byte values: the classes, numbered from 0. What is hidden (".x") is passed over
// here and below. Errors: no_input (66), also where there is none.
std::vector<std::string> class_names(const std::filesystem::path& folder);

// The text of an index of `folder`, in which not every class needs to have a folder. It asks for each file's size, on
// `num_threads` threads, since a network's file system takes its time over each, and calls still_alive() now and then,
// from any of them. Errors: no_input (66), also where there is no file at all; data (65) for a folder that is no class.
std::string index_folder(const std::filesystem::path& folder, std::span<const std::string> classes, int num_threads,
                         const std::function<void()>& still_alive);

class FolderIndex {
 public:
  struct File {
    std::string_view folder, name;
    int64_t size, label;
  };
  // `path` is in errors. Errors: data (65) where the text is no index.
  FolderIndex(std::string text, const std::filesystem::path& path);

  int64_t num_files() const { return int64_t(files_.size()); }
  int64_t num_classes() const { return int64_t(classes_.size()); }
  File file(int64_t i) const;
  // The files of a class: [first, end).
  int64_t first_of(int64_t label) const { return first_[size_t(label)]; }
  int64_t end_of(int64_t label) const { return first_[size_t(label) + 1]; }
  std::string fingerprint() const;

 private:
  std::string text_;
  std::vector<std::string> classes_;
  std::vector<int64_t> first_;  // file of each class, and the number of files
  std::vector<size_t> files_;   // where in the text
};

}  // namespace ddp
