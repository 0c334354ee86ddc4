"""Boxline: object detectors from HOG + SVM to RetinaNet, trained stage by stage the way their papers did it."""

import os

# OpenMP's threads spin on while they wait for each other: with a busy neighbour (another process, our own reader and
# writer threads) that costs a factor of 10 and more. Threads that sleep at once cost a factor of 2 on a quiet machine.
# So they spin for a moment. OpenMP reads this once, when torch is loaded: hence here, where no import can come before.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "100000")

# Tensors of some megabytes get large pages where Linux has them to give. Such tensors come and go with every layer, and
# the kernel hands out their memory anew each time, page by page: a tenth of a training step on a CPU. PyTorch reads
# this at its first tensor.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
