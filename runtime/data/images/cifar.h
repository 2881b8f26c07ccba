// CIFAR-10 and CIFAR-100 in their binary version: records of a label, in CIFAR-100 a coarse and a fine one, and a
// picture of 32 x 32 in three planes, red, green, blue. Source: https://www.cs.toronto.edu/~kriz/cifar.html.
#pragma once

#include "runtime/data/data_source.h"

namespace ddp {

// `request.path()` is a file of records, or the folder with the files of both splits under their usual names. The
// labels of CIFAR-100 are the fine ones. Errors: no_input (66); data (65) for a file that is no whole number of
// records, and for a label that is no class of the model; config (78) where the model has other channels.
std::unique_ptr<DataSource> open_cifar10(const SourceRequest& request);
std::unique_ptr<DataSource> open_cifar100(const SourceRequest& request);

}  // namespace ddp
