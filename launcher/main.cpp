#include "launcher/launcher_main.h"

#include "models/options_registry.h"

int main(int argc, char** argv) { return ddp::launcher_main(argc, argv, ddp::config_registry()); }
