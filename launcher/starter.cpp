#include "launcher/starter.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/base/error.h"

namespace ddp {
namespace {

// Of the descriptors that are open the inherited ones alone have no FD_CLOEXEC: an exec would have closed them.
Fd take_inherited(const char* option, int number, int unfit_mode, const char* unfit_text) {
  const int flags = ::fcntl(number, F_GETFD);
  if (flags < 0 || (flags & FD_CLOEXEC) != 0)
    throw Error(ExitCode::usage, fmt::format("{}: no descriptor {} was inherited", option, number),
                "name one that is left open for ddp-launch, in Python by pass_fds");
  if ((::fcntl(number, F_GETFL) & O_ACCMODE) == unfit_mode)
    throw Error(ExitCode::usage, fmt::format("{}: descriptor {} is open for {}", option, number, unfit_text),
                "name the other end of the pipe");
  ::fcntl(number, F_SETFD, FD_CLOEXEC);
  return Fd(number);
}

bool can_be_watched(const Fd& fd) {
  const Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event = {};
  return ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd.get(), &event) == 0;
}

}  // namespace

Fd take_watched_descriptor(int number) {
  constexpr const char* kOption = "--stop-when-closed";
  if (number < 0) return {};
  Fd fd = take_inherited(kOption, number, O_WRONLY, "writing alone");
  if (!can_be_watched(fd))
    throw Error(ExitCode::usage, fmt::format("{}: descriptor {} is a file, which nobody closes", kOption, number),
                "name the read end of a pipe");
  return fd;
}

Announcement::Announcement(int number)
    : fd_(number < 0 ? Fd() : take_inherited("--announce", number, O_RDONLY, "reading alone")) {}

void Announcement::make(const std::string& output_dir, int64_t metrics_from) {
  if (!fd_) return;
  const nlohmann::json notice = {{"output_dir", output_dir}, {"metrics_from", metrics_from}};
  const std::string line = notice.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  pollfd ready = {fd_.get(), POLLOUT, 0};
  if (::poll(&ready, 1, 0) == 1) {
    [[maybe_unused]] const ssize_t n = ::write(fd_.get(), line.data(), line.size());
  }
  fd_.reset();
}

}  // namespace ddp
