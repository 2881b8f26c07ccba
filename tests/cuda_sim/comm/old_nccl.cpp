// A NCCL from before the functions that the project needs.
extern "C" int ncclGetVersion(int* version) {
  *version = 21205;
  return 0;
}
