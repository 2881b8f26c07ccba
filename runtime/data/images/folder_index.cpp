#include "runtime/data/images/folder_index.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>

#include "runtime/base/error.h"
#include "runtime/base/fs.h"
#include "runtime/base/hash.h"
#include "runtime/base/number.h"
#include "runtime/base/start_thread.h"

namespace ddp {
namespace {

constexpr std::string_view kVersion = "ddp-launch index 1";

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

struct Found {
  std::string name;
  int64_t size;
};

// Entries of a folder that are regular files, or that are folders, in no order. A link counts as what it leads to.
std::vector<Found> entries(
    const std::filesystem::path& path, bool folders, const std::function<void()>& still_alive = [] {}) {
  constexpr size_t kAliveEvery = 256;  // entries
  Fd fd = open_input(path);
  const std::unique_ptr<DIR, CloseFolder> folder(::fdopendir(fd.get()));
  const auto fail = [&path](const std::string& name) {
    return Error(ExitCode::no_input, "cannot read " + (path / name).string() + ": " + errno_text(errno),
                 "make it readable, or remove it");
  };
  if (!folder) throw fail({});
  const int at = fd.release();
  std::vector<Found> found;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(folder.get());
    if (entry == nullptr && errno != 0) throw fail({});
    if (entry == nullptr) return found;
    if (entry->d_name[0] == '.') continue;
    const bool may_be_either = entry->d_type == DT_UNKNOWN || entry->d_type == DT_LNK;
    if (!may_be_either && entry->d_type != (folders ? DT_DIR : DT_REG)) continue;
    struct stat info {};
    if (!folders || may_be_either) {
      if (::fstatat(at, entry->d_name, &info, 0) != 0) throw fail(entry->d_name);
      if (!(folders ? S_ISDIR(info.st_mode) : S_ISREG(info.st_mode))) continue;
    }
    found.push_back({entry->d_name, info.st_size});
    if (found.size() % kAliveEvery == 1) still_alive();
  }
}

// Calls work(i) for each i below n, on this thread and as many more as there may be. The first exception comes out.
template <class Work>
void for_each_on_threads(size_t n, int num_threads, const Work& work) {
  std::atomic<size_t> next = 0;
  std::vector<std::exception_ptr> errors(static_cast<size_t>(num_threads));
  const auto run = [&](std::exception_ptr& error) {
    try {
      for (size_t i = next++; i < n; i = next++) work(i);
    } catch (...) {
      error = std::current_exception();
      next = n;
    }
  };
  std::vector<std::jthread> threads;
  try {
    for (size_t i = 1; i < errors.size(); ++i)
      threads.push_back(start_thread<std::jthread>("a scanning thread", [&, i] { run(errors[i]); }));
  } catch (const Error&) {}  // those that did start will do
  run(errors[0]);
  threads.clear();
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace

std::vector<std::string> class_names(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (Found& found : entries(folder, true)) names.push_back(std::move(found.name));
  std::ranges::sort(names);
  if (names.empty())
    throw Error(ExitCode::no_input, folder.string() + " has no folder in it",
                "data.format images takes a folder that has a folder of pictures for each class");
  return names;
}

std::string index_folder(const std::filesystem::path& folder, std::span<const std::string> classes, int num_threads,
                         const std::function<void()>& still_alive) {
  const std::vector<std::string> there = class_names(folder);
  std::vector<std::vector<Found>> files(classes.size());
  for (const std::string& name : there)
    if (!std::ranges::binary_search(classes, name))
      throw Error(ExitCode::data, fmt::format("{} is no class of the training data", (folder / name).string()),
                  "data.valid has the same folders as data.train, or fewer");
  for_each_on_threads(classes.size(), num_threads, [&](size_t label) {
    if (!std::ranges::binary_search(there, classes[label])) return;
    files[label] = entries(folder / classes[label], false, still_alive);
    std::ranges::sort(files[label], {}, &Found::name);
  });
  std::string text;
  const auto add = [&text](std::string_view name, int64_t number) {
    fmt::format_to(std::back_inserter(text), "{}{}{}{}", name, '\0', number, '\0');
  };
  add(kVersion, int64_t(classes.size()));
  for (size_t label = 0; label < classes.size(); ++label) add(classes[label], int64_t(files[label].size()));
  for (const std::vector<Found>& of_class : files)
    for (const Found& file : of_class) add(file.name, file.size);
  if (std::ranges::all_of(files, &std::vector<Found>::empty))
    throw Error(ExitCode::no_input, folder.string() + " has no file in its folders",
                "data.format images takes a folder that has a folder of pictures for each class");
  return text;
}

FolderIndex::FolderIndex(std::string text, const std::filesystem::path& path) : text_(std::move(text)) {
  size_t at = 0;
  const auto corrupt = [&path] {
    return Error(ExitCode::data, path.string() + " is no index of pictures", "is another program writing there?");
  };
  const auto take = [&]() -> std::string_view {
    const size_t end = text_.find('\0', at);
    if (end == std::string::npos) throw corrupt();
    const std::string_view word(text_.data() + at, end - at);
    at = end + 1;
    return word;
  };
  const auto take_number = [&] {
    const std::optional<int64_t> number = parse_number<int64_t>(take());
    if (!number || *number < 0) throw corrupt();
    return *number;
  };
  if (take() != kVersion) throw corrupt();
  first_.push_back(0);
  for (int64_t n = take_number(); n > 0; --n) {
    classes_.emplace_back(take());
    const int64_t files = take_number();
    if (files > int64_t(text_.size()) - first_.back()) throw corrupt();
    first_.push_back(first_.back() + files);
  }
  while (at < text_.size()) {
    files_.push_back(at);
    take();
    take_number();
  }
  if (first_.back() != num_files() || files_.empty()) throw corrupt();
}

FolderIndex::File FolderIndex::file(int64_t i) const {
  const std::string_view name = text_.data() + files_[size_t(i)];
  const int64_t label = std::ranges::upper_bound(first_, i) - first_.begin() - 1;
  return {.folder = classes_[size_t(label)],
          .name = name,
          .size = *parse_number<int64_t>(name.data() + name.size() + 1),
          .label = label};
}

std::string FolderIndex::fingerprint() const {
  return fmt::format("{} files of {} classes, xxh3 {}", num_files(), num_classes(),
                     hash_text(xxh3(std::as_bytes(std::span(text_)))));
}

}  // namespace ddp
