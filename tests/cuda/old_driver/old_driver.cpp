// All that the CUDA runtime asks of a driver before it refuses it as too old: the version, here CUDA 11.4.
extern "C" int cuDriverGetVersion(int* version) {
  *version = 11040;
  return 0;
}
