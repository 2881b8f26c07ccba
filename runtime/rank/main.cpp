#include "models/options_registry.h"
#include "runtime/rank/rank_main.h"

int main(int argc, char** argv) {
  return ddp::rank_main({argv, size_t(argc)}, {ddp::config_registry(), ddp::model_makers(), ddp::source_makers()});
}
