// Included before everything in checked kernels: the copies of structs that the compiler makes by memcpy or memset go
// to hooks.cpp. Only those: the linker's --wrap would catch the emulator's own as well.
#pragma once

asm(".set memcpy, ddp_sim_memcpy\n.set memset, ddp_sim_memset");
