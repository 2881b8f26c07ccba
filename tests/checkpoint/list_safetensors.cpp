// list_safetensors FOLDER: what SafetensorsReader makes of each file 0, 1, 2, ... in it, a line each: a JSON object
// from names to dtype and shape, or why it is refused. For safetensors_library_test.py.
#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "runtime/state/safetensors.h"

int main(int, char** argv) {
  const std::filesystem::path folder = argv[1];
  for (int i = 0; std::filesystem::exists(folder / std::to_string(i)); ++i) try {
      nlohmann::json all = nlohmann::json::object();
      const ddp::SafetensorsReader reader(folder / std::to_string(i));
      for (const ddp::SavedTensor& t : reader.tensors()) all[t.name] = {t.dtype, t.shape};
      fmt::print("{}\n", all.dump());
    } catch (const ddp::Error& why) {
      fmt::print("{}\n", why.what());
    }
}
