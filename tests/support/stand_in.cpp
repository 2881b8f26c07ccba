// A library of NVIDIA's as far as its name goes, and a backend that needs it (tests/support/meson.build).
extern "C" const char* stand_in() { return "stand-in"; }
