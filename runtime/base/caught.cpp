#include "runtime/base/caught.h"

#include <errno.h>
#include <fmt/core.h>

#include <cstdio>
#include <new>
#include <system_error>

#include "runtime/base/error.h"
#include "runtime/base/system_limits.h"

namespace ddp {
namespace {

bool is_limit(int error) { return error == EAGAIN || error == EMFILE || error == ENFILE || error == ENOMEM; }

}  // namespace

Caught caught() {
  try {
    throw;
  } catch (const Error& e) {
    return {e.code(), e.what()};
  } catch (const std::bad_alloc&) {
    return {ExitCode::os_resource, "out of host memory: " + memory_in_use()};
  } catch (const std::system_error& e) {  // also of std::filesystem
    const int error = e.code().value();
    if (is_limit(error)) return {ExitCode::os_resource, os_error(e.what(), error).what()};
    return {ExitCode::internal, e.what()};
  } catch (const std::exception& e) {
    return {ExitCode::internal, e.what()};
  }
}

int tell_caught() {
  const Caught what = caught();
  fmt::print(stderr, "ddp-launch: {}{}\n", what.code == ExitCode::internal ? "internal error: " : "", what.text);
  return int(what.code);
}

}  // namespace ddp
