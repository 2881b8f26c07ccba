#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>

#include "runtime/base/fs.h"
#include "runtime/base/patient_file.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/temporary_folder.h"

namespace ddp {
namespace {

struct Place {
  test::TemporaryFolder folder;
  std::filesystem::path path = folder.path / "file";

  Fd open() const { return Fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)); }
  PatientFile file(size_t max_waiting_bytes = PatientFile::kMaxWaitingBytes) const {
    return PatientFile({.open = [this] { return open(); },
                        .gap_line =
                            [](const PatientFile::Lost& lost) {
                              return std::to_string(lost.num_lines) + " lost: " + std::to_string(lost.tags.first) +
                                     "-" + std::to_string(lost.tags.last);
                            },
                        .max_waiting_bytes = max_waiting_bytes});
  }
  std::string text() const { return read_text(path); }
};

// Room in memory for `num_lines` lines of `length` bytes without newline.
size_t room_for(size_t num_lines, size_t length) { return num_lines * (length + 1 + 64) - 1; }

TEST_CASE("lines go to the end of the file, whole and at once") {
  const Place place;
  write_text_atomically(place.path, "before\n");
  PatientFile file = place.file();
  file.append("one");
  CHECK(place.text() == "before\none\n");
  file.append("");
  CHECK(place.text() == "before\none\n\n");
  CHECK_FALSE(file.is_behind());
  CHECK(file.give_up().num_lines == 0);
}

TEST_CASE("whatever room is left, the file holds whole lines only, and all of them in the end") {
  for (size_t limit = 0; limit <= 12; ++limit) {
    const Place place;
    PatientFile file = place.file();
    {
      const test::FileSizeLimit full(limit);
      for (const char* line : {"one", "two", "three"}) file.append(line);
      CHECK(place.text() == std::string("one\ntwo\n").substr(0, limit / 4 * 4));
      CHECK(file.is_behind());
      CHECK(file.error() == EFBIG);
    }
    file.flush();
    CHECK(place.text() == "one\ntwo\nthree\n");
    CHECK_FALSE(file.is_behind());
    CHECK(file.error() == 0);
  }
}

TEST_CASE("beyond the bound the oldest lines go, and a line in their place says so") {
  const Place place;
  PatientFile file = place.file(room_for(4, 5));
  file.append("first", {1, 1});
  {
    const test::FileSizeLimit full(6);
    for (int i = 2; i <= 9; ++i) file.append("line" + std::to_string(i), {i, i});
    CHECK(place.text() == "first\n");
  }
  file.append("lines", {10, 10});
  const std::string text = place.text();
  INFO(text);
  // How many are held depends on what a line costs beside its text; none is both kept and told lost.
  const int num_kept = int(std::count(text.begin(), text.end(), '\n')) - 2;
  CHECK(num_kept >= 2);
  CHECK(num_kept < 9);
  const int num_lost = 9 - num_kept;
  CHECK(text.starts_with("first\n" + std::to_string(num_lost) + " lost: 2-" + std::to_string(num_lost + 1) + "\nline"));
  CHECK(text.ends_with("line9\nlines\n"));
  CHECK_FALSE(file.is_behind());
  CHECK(file.give_up().num_lines == num_lost);
}

TEST_CASE("what is given up is counted over the file's life, and told in the file where that line finds room") {
  const Place place;
  PatientFile file = place.file();
  {
    const test::FileSizeLimit full(14);
    file.append("a line that is long", {3, 7});
    file.append("another one of these", {8, 8});
    CHECK(file.give_up().num_lines == 2);
    CHECK(place.text() == "2 lost: 3-8\n");
    file.append("third", {9, 9});
    CHECK(file.give_up().num_lines == 3);
    CHECK(file.is_behind());
  }
  file.append("fourth", {10, 10});
  CHECK(place.text() == "2 lost: 3-8\n1 lost: 9-9\nfourth\n");
}

TEST_CASE("a file that cannot be made is made later, with all lines") {
  const Place place;
  int reason = ENOSPC;
  PatientFile file({.open =
                        [&] {
                          if (reason == 0) return place.open();
                          errno = reason;
                          return Fd();
                        },
                    .gap_line = {}});
  CHECK_FALSE(file.is_open());
  CHECK(file.is_behind());
  file.append("one");
  CHECK(file.error() == ENOSPC);
  reason = 0;
  file.append("two");
  CHECK(place.text() == "one\ntwo\n");
  CHECK_FALSE(file.is_behind());
}

TEST_CASE("a file that somebody empties while lines wait gets them from its start") {
  const Place place;
  PatientFile file = place.file();
  file.append("a first line");
  {
    const test::FileSizeLimit full(15);
    file.append("second");
    std::filesystem::resize_file(place.path, 0);
  }
  file.append("third");
  CHECK(place.text() == "second\nthird\n");
}

TEST_CASE("where part of a line cannot be cut off, no other is put behind it") {
  const Fd memory(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  PatientFile file({.open = [&] { return Fd(::dup(memory.get())); }, .gap_line = {}});
  file.append("one");
  ::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK);
  {
    const test::FileSizeLimit full(6);
    file.append("two");
  }
  file.append("three");
  file.flush();
  CHECK(file.is_behind());
  CHECK(file.error() == EPERM);
  std::string text(6, '\0');
  read_exact(memory, std::as_writable_bytes(std::span(text)), 0, "memory");
  CHECK(text == "one\ntw");
  CHECK(file_size(memory, "memory") == 6);
}

TEST_CASE("a small file is replaced as one or, on a full disk, not at all, and its temporary is gone") {
  const Place place;
  write_text_atomically(place.path, "old");
  {
    const test::FileSizeLimit full(2);
    CHECK_THROWS_WITH(write_text_atomically(place.path, "newer"), Catch::Contains("File too large (see ulimit -f)"));
  }
  CHECK(place.text() == "old");
  CHECK(std::distance(std::filesystem::directory_iterator(place.folder.path), {}) == 1);
}

}  // namespace
}  // namespace ddp
