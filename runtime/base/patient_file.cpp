#include "runtime/base/patient_file.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace ddp {

void PatientFile::Lost::add(Tags more) {
  tags = num_lines == 0 ? more : Tags{std::min(tags.first, more.first), std::max(tags.last, more.last)};
  ++num_lines;
}

PatientFile::PatientFile(Options options) : options_(std::move(options)) { flush(); }

void PatientFile::append(std::string line, Tags tags) {
  line += '\n';
  waiting_.push_back({std::move(line), tags});
  waiting_bytes_ += waiting_.back().bytes();
  flush();
  while (waiting_bytes_ > options_.max_waiting_bytes) lose_oldest();
}

void PatientFile::flush() {
  if (!file_) {
    file_ = options_.open();
    if (!file_) error_ = errno;
  }
  if (file_ && try_all()) error_ = 0;
}

const PatientFile::Lost& PatientFile::give_up() {
  flush();
  while (!waiting_.empty()) lose_oldest();
  flush();
  return all_lost_;
}

bool PatientFile::try_all() {
  if (torn_bytes_ > 0 && !cut_torn()) return false;
  if (gap_.num_lines > 0) {
    if (!try_line(options_.gap_line(gap_) + "\n")) return false;
    gap_ = {};
  }
  while (!waiting_.empty()) {
    if (!try_line(waiting_.front().text)) return false;
    waiting_bytes_ -= waiting_.front().bytes();
    waiting_.pop_front();
  }
  return true;
}

bool PatientFile::try_line(std::string_view text) {
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = ::write(file_.get(), text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const int why = n == 0 ? ENOSPC : errno;  // some file systems' way to say it
      torn_bytes_ = done;
      if (done > 0) cut_torn();
      error_ = why;
      return false;
    }
    done += size_t(n);
  }
  return true;
}

// From where the file ends now: somebody may have emptied it meanwhile, to make room.
bool PatientFile::cut_torn() {
  struct stat info;
  if (::fstat(file_.get(), &info) != 0 ||
      ::ftruncate(file_.get(), std::max<off_t>(info.st_size - off_t(torn_bytes_), 0)) != 0) {
    error_ = errno;
    return false;
  }
  torn_bytes_ = 0;
  return true;
}

void PatientFile::lose_oldest() {
  gap_.add(waiting_.front().tags);
  all_lost_.add(waiting_.front().tags);
  waiting_bytes_ -= waiting_.front().bytes();
  waiting_.pop_front();
}

}  // namespace ddp
