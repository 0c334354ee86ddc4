"""Which images a training step sees: shuffled passes over all of them, each step computable by itself."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.runtime import item_rng


class ImageOrder:
    """Passes over ``count`` images, each in an order of its own; with ``flip`` a pass holds mirrored copies too.

    Args:
        count: number of images, one or more.
        per_step: images a step.
        flip: whether the set is doubled by mirrored copies (Fast R-CNN, section 2.3).
        seed: decides all orders.
    """

    def __init__(self, count: int, per_step: int, flip: bool, seed: int) -> None:
        self._count, self._per_step, self._flip, self._seed = count, per_step, flip, seed
        self._pass = lru_cache(maxsize=2)(self._shuffled)

    def __call__(self, step: int) -> list[tuple[int, bool]]:
        """Return the positions of the images of ``step`` and whether each is mirrored."""
        size = self._count * (2 if self._flip else 1)
        places = range(step * self._per_step, (step + 1) * self._per_step)
        drawn = [int(self._pass(place // size)[place % size]) for place in places]
        return [(entry % self._count, entry >= self._count) for entry in drawn]

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_pass"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._pass = lru_cache(maxsize=2)(self._shuffled)

    def _shuffled(self, number: int) -> NDArray[np.int64]:
        return item_rng(self._seed, "pass", number).permutation(self._count * (2 if self._flip else 1))
