// A library of NVIDIA's as far as its name goes, of the series SERIES (tests/support/meson.build); as cuDNN it tells
// that.
#include <stddef.h>

extern "C" const char* stand_in() { return "stand-in"; }
extern "C" size_t cudnnGetCudartVersion() { return SERIES * 1000 + 60; }
