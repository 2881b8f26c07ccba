#include "runtime/base/rank_env.h"

#include <fcntl.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "runtime/base/error.h"
#include "runtime/base/number.h"

namespace ddp {
namespace {

constexpr const char* kHint = "start ranks through ddp-launch";

const char* text_of(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) throw Error(ExitCode::rendezvous, std::string(name) + " is not set", kHint);
  return value;
}

int64_t number_of(const char* name, int64_t least, int64_t most) {
  const char* text = text_of(name);
  const std::optional<int64_t> value = parse_number<int64_t>(text);
  if (!value || *value < least || *value > most)
    throw Error(ExitCode::usage,
                std::string(name) + "='" + text + "' is not a whole number from " + std::to_string(least) + " to " +
                    std::to_string(most),
                kHint);
  return *value;
}

int descriptor_of(const char* name) {
  const int fd = int(number_of(name, 3, 1 << 20));
  if (::fcntl(fd, F_GETFD) < 0)
    throw Error(ExitCode::rendezvous, std::string(name) + "=" + std::to_string(fd) + " is not an open descriptor",
                kHint);
  return fd;
}

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> words;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    words.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return words;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ",") + word;
  return text;
}

}  // namespace

RankEnv read_rank_env() {
  constexpr int64_t kMost = 1 << 20;
  RankEnv env;
  env.world_size = int(number_of("WORLD_SIZE", 1, kMost));
  env.rank = int(number_of("RANK", 0, env.world_size - 1));
  env.local_world_size = int(number_of("LOCAL_WORLD_SIZE", 1, env.world_size));
  env.local_rank = int(number_of("LOCAL_RANK", 0, env.local_world_size - 1));
  env.board_fd = descriptor_of("DDP_BOARD_FD");
  env.segment_fd = descriptor_of("DDP_SEGMENT_FD");
  env.device = text_of("DDP_DEVICE");
  if (env.device != "cpu" && env.device != "cuda")
    throw Error(ExitCode::usage, "DDP_DEVICE='" + env.device + "' is neither cpu nor cuda", kHint);
  env.device_index = int(number_of("DDP_DEVICE_INDEX", 0, kMost));
  env.tty = number_of("DDP_TTY", 0, 1) == 1;
  env.resume = text_of("DDP_RESUME");
  if (env.resume.empty()) throw Error(ExitCode::usage, "DDP_RESUME is empty", kHint);
  env.accepted = split_list(text_of("DDP_ACCEPTED"));
  env.stop_after = number_of("DDP_STOP_AFTER", 0, INT64_MAX);
  env.shares_gpu = number_of("DDP_SHARE_GPU", 0, 1) == 1;
  return env;
}

std::vector<std::pair<std::string, std::string>> to_environment(const RankEnv& env) {
  std::vector<std::pair<std::string, std::string>> out = {{"RANK", std::to_string(env.rank)},
                                                          {"LOCAL_RANK", std::to_string(env.local_rank)},
                                                          {"WORLD_SIZE", std::to_string(env.world_size)},
                                                          {"LOCAL_WORLD_SIZE", std::to_string(env.local_world_size)},
                                                          {"DDP_BOARD_FD", std::to_string(env.board_fd)},
                                                          {"DDP_SEGMENT_FD", std::to_string(env.segment_fd)},
                                                          {"DDP_DEVICE", env.device},
                                                          {"DDP_DEVICE_INDEX", std::to_string(env.device_index)},
                                                          {"DDP_TTY", env.tty ? "1" : "0"},
                                                          {"DDP_RESUME", env.resume},
                                                          {"DDP_ACCEPTED", joined(env.accepted)},
                                                          {"DDP_STOP_AFTER", std::to_string(env.stop_after)},
                                                          {"DDP_SHARE_GPU", env.shares_gpu ? "1" : "0"}};
  if (!env.cuda_module.empty()) out.emplace_back("DDP_CUDA_MODULE", env.cuda_module);
  if (!env.site_packages.empty()) out.emplace_back("DDP_SITE_PACKAGES", env.site_packages);
  if (!env.visible_gpu.empty()) out.emplace_back("CUDA_VISIBLE_DEVICES", env.visible_gpu);
  return out;
}

}  // namespace ddp
