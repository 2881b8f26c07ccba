// What a command prints is its result: a full disk behind standard output must not pass for success.
#pragma once

#include <functional>

namespace ddp {

// Calls `print` and writes out what it printed on standard output. Errors: io (74); what `print` throws.
void write_output(const std::function<void()>& print);

}  // namespace ddp
