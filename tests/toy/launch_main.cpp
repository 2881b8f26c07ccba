#include "launcher/launcher_main.h"
#include "tests/toy/options.h"

int main(int argc, char** argv) { return ddp::launcher_main(argc, argv, ddp::toy::config_registry()); }
