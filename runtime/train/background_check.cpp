#include "runtime/train/background_check.h"

#include <sys/resource.h>
#include <unistd.h>

#include <utility>

#include "runtime/base/start_thread.h"

namespace ddp {

BackgroundCheck::BackgroundCheck(std::function<void(const std::atomic<bool>& stop)> check) {
  constexpr int kLowestPriority = 19;
  thread_ = start_thread("a thread that checks the data", [this, check = std::move(check)] {
    ::setpriority(PRIO_PROCESS, id_t(::gettid()), kLowestPriority);  // on Linux of this thread alone
    try {
      check(stop_);
    } catch (...) {
      failure_ = std::current_exception();
      has_failed_.store(true, std::memory_order_release);
    }
  });
}

BackgroundCheck::~BackgroundCheck() {
  stop_.store(true);
  if (thread_.joinable()) thread_.join();
}

std::exception_ptr BackgroundCheck::failure() const {
  return has_failed_.load(std::memory_order_acquire) ? failure_ : nullptr;
}

}  // namespace ddp
