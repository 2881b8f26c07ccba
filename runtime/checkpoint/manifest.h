// manifest.json of a checkpoint: what its tensor files must be, byte for byte, and all of a run's state that is not a
// tensor. It carries a hash of itself, so that a flipped bit in a counter is found like one in a weight.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "kernels/step_state.h"
#include "runtime/base/run_files.h"
#include "runtime/state/safetensors.h"

namespace ddp {

inline constexpr const char* kOptimizerFile = "optimizer.safetensors";
// What others look for beside the model; a checkpoint may lack it.
inline constexpr const char* kTextFiles[] = {"config.json", "generation_config.json"};

// The numbers of a run's state, as bytes the same on every rank.
struct Progress {
  StepState next;            // of the step that follows
  int64_t samples_seen = 0;  // the data position, by which a resume seeks
  // Steps attempted: the last one that is in the weights, or was skipped.
  int64_t step() const { return int64_t(next.attempted_step) - 1; }
  bool operator==(const Progress&) const = default;
};

// All that a resume needs beside the tensors; equal bits in, equal bits out.
struct TrainingState : Progress {
  std::map<std::string, double> optimizer_scalars;  // Optimizer::scalars by name
  std::string data_fingerprint;  // of the training data's file: size and hash, as the data source prints them
  std::string config_digest;     // config_digest() of the run
  std::string config_yaml;       // the resolved configuration
  bool operator==(const TrainingState&) const = default;
};

struct Manifest {
  TrainingState state;
  std::map<std::string, WrittenFile> files;  // by name: the model's, the optimizer's, and of kTextFiles what there is
};

std::string manifest_text(const Manifest& manifest);
// `file` stands for the file in errors. Errors: data (65) when it is malformed, of another format version, or its hash
// differs.
Manifest parse_manifest(const std::string& text, const std::string& file);

}  // namespace ddp
