// The exit codes of ddp-launch and ddp-rank (sysexits.h where one fits), one place so that scripts can rely on them.
#pragma once

namespace ddp {

enum class ExitCode : int {
  complete = 0,
  usage = 64,          // command line
  data = 65,           // corrupt data or checkpoint
  no_input = 66,       // an input file is missing or unreadable
  rendezvous = 69,     // ranks could not meet
  internal = 70,       // a bug of ours
  os_resource = 71,    // fork, memory, descriptors, a lost GPU
  cannot_create = 73,  // output folder in use or not creatable
  io = 74,             // writing failed
  stopped_early = 75,  // stopped on request, committed, resumable
  disagree = 76,       // ranks disagree
  permission = 77,
  config = 78,
  non_finite = 79,  // NaN/Inf or loss-scale collapse
  hang = 124,       // a deadline passed
};
// A rank that died of signal N ends the run with 128+N.
inline constexpr int kSignalBase = 128;

}  // namespace ddp
