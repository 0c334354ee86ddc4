"""Boxline: six object detectors, R-CNN to SSD, trained stage by stage the way their papers did it."""

import os

# OpenMP's threads spin while they wait for each other. With a busy neighbour (another process, our own reader and
# writer threads) that costs a factor of 10 and more, so they sleep instead. OpenMP reads this once, when torch is
# loaded: hence here, where no import can come before it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
