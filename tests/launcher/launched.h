// A ddp-launch under test: started with fake ranks in a temporary folder, watched through its pipes, and never left
// behind. The test process is a subreaper, so that every descendant that outlives the launcher becomes its child and is
// found.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "runtime/base/fs.h"
#include "tests/support/temporary_folder.h"

namespace ddp {

// A temporary working folder with a small configuration (train.yaml, output_dir "out") and its data.
class Workplace {
 public:
  Workplace();
  std::string path(const std::string& name) const { return folder_.path / name; }
  std::string read(const std::string& name) const { return read_text(path(name)); }
  // A checkpoint of a run of this configuration, as far as the launcher looks into one. Returns its folder.
  std::string make_checkpoint(const std::string& name) const;
  bool has(const std::string& name) const { return std::filesystem::exists(path(name)); }

 private:
  test::TemporaryFolder folder_;
};

class Launched {
 public:
  static constexpr int kInherited = 100;
  struct Options {
    std::string script;        // FAKE_RANK: see fake_rank.cpp
    std::string rank_program;  // DDP_RANK; empty: fake_rank
    int ignored_signal = 0;    // inherited so: HUP, as under nohup; all others act by default
    int inherited = -1;        // it inherits this descriptor, as kInherited; -1: none
  };
  Launched(const Workplace& place, const std::vector<std::string>& args, const Options& options);
  Launched(const Workplace& place, const std::vector<std::string>& args, const std::string& script = {})
      : Launched(place, args, Options{script, {}, 0, -1}) {}
  ~Launched();

  pid_t pid() const { return pid_; }
  std::vector<pid_t> ranks() const;  // its children, in the order of their start
  void signal(int signal) const;
  void signal_and_wait(int signal) const;  // until it was taken: a second one is none while the first is pending
  void signal_all(int signal) const;       // the ranks too, and first, as managers of jobs and shutdowns do
  // Waits until a process is in this state, as /proc's stat has it ('T': stopped); false after a minute, or where it is
  // gone.
  static bool becomes(char state, pid_t pid);
  void close_stdout() { out_.reset(); }  // nobody reads it any more
  // Waits until `text` was printed `times` times on stdout or stderr; false after a minute.
  bool prints(const std::string& text, int times = 1);
  bool has_ended() const;
  // Waits for the end (a minute at most): the exit code, or minus the signal that ended it.
  int end();
  // Waits until no descendant of this process lives; false after a minute.
  static bool nothing_left();

  const std::string& out() const { return out_text_; }
  const std::string& err() const { return err_text_; }
  std::string last_error_line() const;

 private:
  bool take_output(int timeout_ms);

  pid_t pid_ = -1;
  Fd out_, err_;
  std::string out_text_, err_text_;
};

}  // namespace ddp
