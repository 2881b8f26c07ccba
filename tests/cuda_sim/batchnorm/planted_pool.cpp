#include "tests/cuda_sim/batchnorm/planted.h"
// Above: the barriers and the choice of a width it is compiled with.
#include "kernels/cuda/batchnorm_pool.cu"
