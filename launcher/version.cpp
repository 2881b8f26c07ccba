#include "launcher/version.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "launcher/cuda_search.h"
#include "launcher/rank_program.h"
#include "runtime/base/error.h"
#include "runtime/base/fs.h"

namespace ddp {
namespace {

using Json = nlohmann::ordered_json;

// A run on several GPUs of a model that convolves.
constexpr OpenedLibraries kAll = {.nccl = true, .cudnn = true};

// Sets object[key] to what `find` returns, or to null and object["why_not"] to why it throws.
template <class Find>
void set_or_say(Json& object, const char* key, Find find) {
  try {
    object[key] = find();
  } catch (const Error& error) {
    object[key] = nullptr;
    object["why_not"] = error.what();
  }
}

Json libraries_of(const CudaModule& module, const std::filesystem::path& rank_program) {
  Json out = Json::object();
  for (const FoundLibrary& library : find_cuda_libraries(rank_program, module, kAll))
    out[library.name] = library.place.empty() ? Json(nullptr) : Json(library.place);
  return out;
}

Json modules_of(const std::filesystem::path& rank_program) {
  Json out = Json::array();
  for (const CudaModule& module : cuda_modules(rank_program.parent_path()))
    out.push_back({{"path", module.path.string()},
                   {"series", module.series},
                   {"built", module.built.empty() ? Json(nullptr) : Json(module.built)},
                   {"libraries", libraries_of(module, rank_program)}});
  return out;
}

Json cuda_of(const std::filesystem::path& rank_program) {
  Json cuda;
  const std::optional<int> driver = cuda_driver_version();
  cuda["driver"] = driver ? Json(version_text(*driver)) : Json(nullptr);
  set_or_say(cuda, "modules", [&] { return modules_of(rank_program); });
  set_or_say(cuda, "chosen", [&] { return choose_cuda(rank_program, kAll).module; });
  return cuda;
}

}  // namespace

std::string version_line() { return fmt::format("ddp-launch {} ({})", DDP_VERSION, commit()); }

std::string version_json() {
  Json out = {{"version", DDP_VERSION}, {"commit", commit()}, {"compiler", "g++ " __VERSION__}};
  Json cpu = {{"levels", DDP_CPU_ARCHS}};
  std::filesystem::path rank_program;
  set_or_say(cpu, "rank_program", [&] {
    rank_program = find_rank_program();
    return rank_program.string();
  });
  out["cpu"] = cpu;
  if (!rank_program.empty()) out["cuda"] = cuda_of(rank_program);
  return out.dump(2);
}

}  // namespace ddp
