#include "tests/cuda_sim/attention/droppable.h"
// Above: the barriers it is compiled with.
#include "kernels/cuda/attention_mma.cu"
