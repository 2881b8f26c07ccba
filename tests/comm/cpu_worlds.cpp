#include <catch2/catch.hpp>

#include "runtime/device/cpu_device.h"
#include "tests/comm/contract.h"

namespace ddp::test {

void in_every_world(const RankBody& body) {
  static const std::vector<World> kWorlds = {{RankKind::solo, 1},     {RankKind::threads, 2}, {RankKind::threads, 3},
                                             {RankKind::threads, 4},  {RankKind::threads, 8}, {RankKind::processes, 2},
                                             {RankKind::processes, 4}};
  for (const World& world : kWorlds) {
    INFO(world.name());
    CHECK(failures(run_world(world, {.symmetric_bytes = kContractSymmetricBytes}, body)) == "");
  }
}

void enqueue_work(Stream& stream, const std::function<void()>& work) {
  cpu_enqueue(stream, [&work](ThreadPool&) { work(); });
}

}  // namespace ddp::test
