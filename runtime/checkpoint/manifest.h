// manifest.json of a checkpoint: what its tensor files must be, byte for byte, and all of a run's state that is not a
// tensor. It carries a hash of itself, so that a flipped bit in a counter is found like one in a weight.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "runtime/checkpoint/safetensors.h"

namespace ddp {

inline constexpr const char* kModelFile = "model.safetensors";
inline constexpr const char* kOptimizerFile = "optimizer.safetensors";
inline constexpr const char* kManifestFile = "manifest.json";

// The numbers of a run's state, as bytes the same on every rank.
struct Progress {
  int64_t step = 0;                           // steps attempted: the last one that is in the weights, or was skipped
  int64_t applied_steps = 0;                  // updates made: indexes the learning rate
  int64_t samples_seen = 0;                   // the data position, by which a resume seeks
  double beta1_power = 1, beta2_power = 1;    // beta^applied_steps, as running products
  float loss_scale = 1;                       // of the step that follows
  int64_t growth_count = 0, floor_skips = 0;  // of the loss scale (StepScalars)
  bool operator==(const Progress&) const = default;
};

// All that a resume needs beside the tensors; equal bits in, equal bits out.
struct TrainingState : Progress {
  std::string data_fingerprint;  // of the training data's file: size and hash, as the data source prints them
  std::string config_digest;     // config_digest() of the run
  std::string config_yaml;       // the resolved configuration
  bool operator==(const TrainingState&) const = default;
};

struct Manifest {
  TrainingState state;
  std::map<std::string, WrittenFile> files;  // by name: the model's and the optimizer's
};

std::string manifest_text(const Manifest& manifest);
// `file` stands for the file in errors. Errors: 65 when it is malformed, of another format version, or its hash
// differs.
Manifest parse_manifest(const std::string& text, const std::string& file);

}  // namespace ddp
