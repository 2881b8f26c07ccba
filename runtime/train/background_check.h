// A check of the data that would hold up the start for too long: it runs beside the training, on a thread of the lowest
// priority.
#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <thread>

namespace ddp {

class BackgroundCheck {
 public:
  // `check` returns, or throws, soon after the flag is set. Errors: os_resource (71) when no thread can be started.
  explicit BackgroundCheck(std::function<void(const std::atomic<bool>& stop)> check);
  ~BackgroundCheck();  // stops it
  BackgroundCheck(const BackgroundCheck&) = delete;
  BackgroundCheck& operator=(const BackgroundCheck&) = delete;

  // What it threw so far; nullptr: nothing.
  std::exception_ptr failure() const;

 private:
  std::atomic<bool> stop_{false}, has_failed_{false};
  std::exception_ptr failure_;
  std::thread thread_;
};

}  // namespace ddp
