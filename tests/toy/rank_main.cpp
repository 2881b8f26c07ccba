#include "runtime/rank/rank_main.h"
#include "tests/toy/toy.h"

int main(int argc, char** argv) {
  return ddp::rank_main({argv, size_t(argc)},
                        {ddp::toy::config_registry(), ddp::toy::model_makers(), ddp::toy::source_makers()});
}
