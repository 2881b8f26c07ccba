#include <fcntl.h>
#include <stdlib.h>

#include <catch2/catch.hpp>

#include "runtime/base/cores.h"
#include "runtime/base/error.h"
#include "runtime/base/fs.h"
#include "runtime/base/rank_env.h"

using namespace ddp;

namespace {

void set_environment(const RankEnv& env) {
  for (const auto& [name, value] : to_environment(env)) ::setenv(name.c_str(), value.c_str(), 1);
}

int code_of_reading() {
  try {
    read_rank_env();
  } catch (const Error& e) {
    return int(e.code());
  }
  return 0;
}

}  // namespace

TEST_CASE("a rank reads what the launcher wrote") {
  const Fd board(::open("/dev/null", O_RDWR | O_CLOEXEC)), segment(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const RankEnv written{
      2, 1, 4, 2, board.get(), segment.get(), "cuda", 3, true, "runs/a b", {"train.steps", "optimizer.lr"}, 50, true};
  set_environment(written);
  const RankEnv read = read_rank_env();
  CHECK(read.rank == 2);
  CHECK(read.local_rank == 1);
  CHECK(read.world_size == 4);
  CHECK(read.local_world_size == 2);
  CHECK(read.board_fd == board.get());
  CHECK(read.segment_fd == segment.get());
  CHECK(read.device == "cuda");
  CHECK(read.device_index == 3);
  CHECK(read.tty);
  CHECK(read.resume == "runs/a b");
  CHECK(read.accepted == std::vector<std::string>{"train.steps", "optimizer.lr"});
  CHECK(read.stop_after == 50);
  CHECK(read.shares_gpu);
}

TEST_CASE("an environment that ddp-launch did not make is refused") {
  const Fd board(::open("/dev/null", O_RDWR | O_CLOEXEC));
  RankEnv env;
  env.board_fd = env.segment_fd = board.get();
  for (const char* name :
       {"RANK", "WORLD_SIZE", "DDP_BOARD_FD", "DDP_SEGMENT_FD", "DDP_DEVICE", "DDP_RESUME", "DDP_ACCEPTED"}) {
    INFO(name);
    set_environment(env);
    CHECK(code_of_reading() == 0);
    ::unsetenv(name);
    CHECK(code_of_reading() == 69);
  }
  const std::pair<const char*, const char*> wrong[] = {{"RANK", "1"},
                                                       {"RANK", "-1"},
                                                       {"RANK", "0x"},
                                                       {"WORLD_SIZE", "0"},
                                                       {"WORLD_SIZE", "99999999999999999999"},
                                                       {"DDP_TTY", "2"},
                                                       {"DDP_DEVICE", "tpu"},
                                                       {"DDP_RESUME", ""},
                                                       {"DDP_STOP_AFTER", "-1"},
                                                       {"DDP_SHARE_GPU", "yes"}};
  for (const auto& [name, value] : wrong) {
    INFO(name << "=" << value);
    set_environment(env);
    ::setenv(name, value, 1);
    CHECK(code_of_reading() == 64);
  }
  set_environment(env);
  ::setenv("DDP_BOARD_FD", "1000", 1);
  CHECK(code_of_reading() == 69);
}

TEST_CASE("threads of a rank: as configured, else the cores shared out, at least one") {
  CHECK(usable_cores() >= 1);
  CHECK(threads_per_rank(3, 4, 2) == 3);
  CHECK(threads_per_rank(0, 4, 16) == 4);
  CHECK(threads_per_rank(0, 4, 2) == 1);
}
