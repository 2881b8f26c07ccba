// Kills a process of its own before one of its system calls.
#pragma once

#include <functional>

namespace ddp::test {

enum class End { killed, finished, untraceable };

// Runs `work` in a forked process, which is killed as it enters its system call number `call` (from 0).
End run_until_call(int call, const std::function<void()>& work);

}  // namespace ddp::test
