"""From a filter's window to the object's box: least squares on windows of training objects (DPM, ``bboxpred_train.m``).

A root filter alone has one input, a 1: its boxes move by the mean offset of its objects' edges.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, as_boxes


def fit_boxes(inputs: NDArray, windows: Boxes, objects: Boxes) -> NDArray[np.float32]:
    """Return the coefficients ``(K, 4)`` by which ``inputs`` ``(N, K)`` best say where objects lie in their windows.

    Targets are the offsets of the four edges from those of ``windows`` (N, 4), in sides of the window. Where inputs
    depend on each other the solution is that of the least norm.
    """
    offsets = (as_boxes(objects) - windows) / _sides(windows)
    solution, *_ = np.linalg.lstsq(inputs.astype(np.float64), offsets.astype(np.float64), rcond=None)
    return solution.astype(np.float32)


def fitted_boxes(coefficients: NDArray[np.float32], inputs: NDArray, windows: Boxes) -> Boxes:
    """Return where the objects of ``windows`` (N, 4) lie, ``(N, 4)``, not clipped; ``inputs`` are ``(N, K)``."""
    return as_boxes(windows + inputs @ coefficients * _sides(windows))


def _sides(windows: Boxes) -> NDArray[np.float32]:
    """Return width, height, width, height of each window, ``(N, 4)``."""
    return np.tile(windows[:, 2:] - windows[:, :2], 2)
