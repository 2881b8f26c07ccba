// What this build is, and what it finds on this machine: for a user who asks for help, and for scripts.
#pragma once

#include <string>

namespace ddp {

// The commit that this was built from, "95783e8a1b2c"; with "-dirty" where the tree had changes.
const char* commit();
std::string version_line();  // "ddp-launch 0.1.0 (95783e8a1b2c)"

// An object of "version", "commit", "compiler"; "cpu": the "levels" that were built and the "rank_program" for this
// processor; "cuda": the "driver"'s version, each of the "modules" with its series, what "built" it and where its
// "libraries" are, and the "chosen" one. What is not there is null, with the reason in "why_not".
std::string version_json();

}  // namespace ddp
