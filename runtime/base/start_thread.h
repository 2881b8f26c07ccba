// The one way to start a thread: where the system allows no further one, an error says which limit that is.
#pragma once

#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "runtime/base/system_limits.h"

namespace ddp {

// `name` is for the error: "a data thread". Thread is std::thread or std::jthread. Errors: os_resource (71).
template <class Thread = std::thread, class Body>
Thread start_thread(const std::string& name, Body&& body) {
  try {
    return Thread(std::forward<Body>(body));
  } catch (const std::system_error& e) {
    throw os_error("cannot start " + name, e.code().value());
  }
}

}  // namespace ddp
