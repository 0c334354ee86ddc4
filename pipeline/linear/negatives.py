"""The negatives of one SVM while they are mined: those kept so far, and new ones."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass
class Negatives:
    """Each has a key, so that none is held twice: the cache, the image, and one or more numbers for its place there.

    Attributes:
        features: of those kept, ``(N, width)``.
        keys: of those kept, ``(N, 2 + numbers)``.
    """

    features: NDArray
    keys: NDArray[np.int64]
    _new: list[tuple[NDArray, NDArray[np.int64]]] = field(default_factory=list)

    @classmethod
    def none(cls, width: int, numbers: int) -> "Negatives":
        """Return no negatives as yet."""
        return cls(np.zeros((0, width), np.float16), np.zeros((0, 2 + numbers), np.int64))

    @property
    def fresh(self) -> int:
        """How many are new."""
        return sum(len(keys) for _, keys in self._new)

    def held(self, image: tuple[int, int]) -> NDArray[np.int64]:
        """Return the places of those in ``image``, kept and new, ``(n, numbers)``; a dropped one may come back."""
        keys = np.concatenate([self.keys, *(keys for _, keys in self._new)])
        return keys[(keys[:, :2] == image).all(axis=1), 2:]

    def unknown(self, image: tuple[int, int], places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of the ``places`` in ``image`` ``(n, numbers)`` are not among those `held`, ``(n,)``."""
        known = {place.tobytes() for place in self.held(image)}
        return np.array([place.tobytes() not in known for place in places], np.bool_)

    def add(self, features: NDArray, image: tuple[int, int], places: NDArray[np.int64]) -> None:
        """Take new ones in ``image``: ``(n, width)``, and their places there, ``(n, numbers)``."""
        self._new.append((features, np.column_stack([np.tile(image, (len(places), 1)), places])))

    def join(self) -> None:
        """Make the new ones those that are kept, too."""
        old = [(self.features, self.keys)] if len(self.keys) or not self._new else []
        features, keys = zip(*old, *self._new, strict=True)
        self.features, self.keys, self._new = np.concatenate(features), np.concatenate(keys), []

    def drop(self, scores: NDArray, below: float, most: int) -> None:
        """Drop those that score less than ``below``, and all but the ``most`` that score best."""
        kept = np.flatnonzero(scores >= below)
        if len(kept) > most:
            kept = np.sort(kept[np.argsort(-scores[kept], kind="stable")[:most]])
        self.features, self.keys = self.features[kept], self.keys[kept]
