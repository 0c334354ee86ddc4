"""Where the parts of a root lie at first: on its strongest weights at twice the resolution (``mkpartfilters.m``)."""

from dataclasses import replace

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pipeline.features.hog_pyramid import Descriptor
from pipeline.systems.dpm.model import Look, Part, fine_grid

_NORM = 0.1  # of a new part's weights
_COST = np.array([0.01, 0, 0.01, 0], np.float32)
_ROUNDS = 10


def with_parts(look: Look, count: int, size: int, descriptor: Descriptor) -> Look:
    """Return a root with parts, whose weights are those of the root enlarged, of a small norm.

    Args:
        look: without parts.
        count: of parts.
        size: their side in cells; at most the root's at twice the resolution.
        descriptor: of the vectors.
    """
    image = torch.from_numpy(look.root).permute(2, 0, 1)[None]
    sides = fine_grid(look.component.shape, descriptor)
    enlarged = torch.nn.functional.interpolate(image, size=sides, mode="bicubic")[0].permute(1, 2, 0).numpy()
    rows, columns = (min(size, side) for side in sides)
    parts = []
    for y, x in cover(np.square(np.maximum(enlarged, 0)).sum(axis=2), count, (rows, columns)):
        weights = enlarged[y : y + rows, x : x + columns]
        parts.append(Part((y, x), weights * (_NORM / (np.linalg.norm(weights) + 1e-12)).astype(np.float32), _COST))
    return replace(look, parts=tuple(parts))


def cover(energy: NDArray[np.float32], count: int, hw: tuple[int, int]) -> list[tuple[int, int]]:
    """Return row and column of ``count`` rectangles of ``hw`` that cover most of an ``energy`` ``(rows, columns)``.

    One after the other is put where most of it is left; then each in turn is put anew beside all others, until none
    moves. The released code takes turns at random, ten times from the start.
    """
    places: list[tuple[int, int]] = []
    for _ in range(count):
        places.append(_best(energy, places, hw))
    for _ in range(_ROUNDS):
        before = list(places)
        for number in range(count):
            others = places[:number] + places[number + 1 :]
            places[number] = _best(energy, others, hw)
        if places == before:
            break
    return places


def _best(energy: NDArray[np.float32], taken: list[tuple[int, int]], hw: tuple[int, int]) -> tuple[int, int]:
    left = energy.astype(np.float64)
    for y, x in taken:
        left[y : y + hw[0], x : x + hw[1]] = 0
    sums = sliding_window_view(left, hw).sum(axis=(2, 3))
    y, x = np.unravel_index(sums.argmax(), sums.shape)
    return int(y), int(x)
