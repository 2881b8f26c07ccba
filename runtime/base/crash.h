// A rank that dies of SIGSEGV, SIGABRT, SIGILL, SIGBUS or SIGFPE leaves a backtrace in its log, and still dies of that
// signal.
#pragma once

namespace ddp {

void print_backtrace_on_crash();

}  // namespace ddp
