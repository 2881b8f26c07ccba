// All that is asked of a driver before anything runs on it: which CUDA it supports. $STAND_IN_DRIVER, or 11040
// for 11.4.
#include <stdlib.h>

extern "C" int cuDriverGetVersion(int* version) {
  const char* given = getenv("STAND_IN_DRIVER");
  *version = given != nullptr ? atoi(given) : 11040;
  return 0;
}
