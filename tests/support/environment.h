// An environment variable as a test wants it, and as it was when the test ends.
#pragma once

#include <stdlib.h>

#include <optional>
#include <string>
#include <utility>

namespace ddp::test {

class EnvironmentVariable {
 public:
  // nullopt: not set.
  EnvironmentVariable(const char* name, const std::optional<std::string>& value) : name_(name) {
    if (const char* before = ::getenv(name); before != nullptr) before_ = before;
    put(value);
  }
  EnvironmentVariable(EnvironmentVariable&& other) noexcept
      : name_(std::exchange(other.name_, nullptr)), before_(std::move(other.before_)) {}
  EnvironmentVariable& operator=(EnvironmentVariable&&) = delete;
  ~EnvironmentVariable() {
    if (name_ != nullptr) put(before_);
  }

 private:
  void put(const std::optional<std::string>& value) const {
    value ? ::setenv(name_, value->c_str(), 1) : ::unsetenv(name_);
  }
  const char* name_;
  std::optional<std::string> before_;
};

}  // namespace ddp::test
