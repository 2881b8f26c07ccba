#!/usr/bin/env bash
# Fashion-MNIST for configs/resnet-fashion.yaml: Debian's dataset-fashion-mnist, in /usr/share/datasets/fashion-mnist.
. "$(dirname "$0")/common.sh"
need_packages dataset-fashion-mnist
