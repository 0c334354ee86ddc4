"""How well each unit alone tells a class from everything else."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.data.index import Index
from pipeline.inspect.describing.labels import IGNORED, row_labels
from pipeline.inspect.reading.bits import as_float32
from pipeline.inspect.reading.cached_rows import CachedRows

SAMPLE_ROWS = 16384
SAMPLE_MB = 256
# Units ranked at a time.
_AT_ONCE = 64


@dataclass(frozen=True)
class Separation:
    """Areas under the ROC curve of single units.

    Attributes:
        classes: names.
        auc: ``(units, classes)`` float64: the chance that a row of the class excites the unit more than another row
            does, equal values counting half; 0.5 is no separation, below 0.5 the unit is quieter at the class. NaN
            where the sample lacks rows of the class or of any other.
        positives: ``(classes,)`` int64, rows of each class in the sample.
        sampled: rows that were looked at.
        rows: of the layer.
    """

    classes: tuple[str, ...]
    auc: NDArray[np.float64]
    positives: NDArray[np.int64]
    sampled: int
    rows: int

    def best(self, label: int, count: int) -> NDArray[np.int64]:
        """Return the ``count`` units that separate class ``label``, from 1, best first; the first of equals first."""
        auc = np.nan_to_num(self.auc[:, label - 1], nan=-1.0)
        return np.argsort(-auc, kind="stable")[:count]

    def best_class(self, unit: int) -> tuple[str, float] | None:
        """Return the class that a unit separates best, with its area; None where no class can be judged."""
        auc = self.auc[unit]
        return None if np.isnan(auc).all() else self.of(unit, int(np.nanargmax(auc)) + 1)

    def of(self, unit: int, label: int) -> tuple[str, float]:
        """Return the name of class ``label``, from 1, and the area of ``unit`` for it."""
        return self.classes[label - 1], float(self.auc[unit, label - 1])

    def best_of_each(self, count: int) -> dict[int, int]:
        """Return the ``count`` best units of each class that can be judged: unit to label, each for its first class."""
        chosen: dict[int, int] = {}
        for label in (np.flatnonzero(~np.isnan(self.auc).all(axis=0)) + 1).tolist():
            for unit in self.best(label, count).tolist():
                chosen.setdefault(unit, label)
        return chosen


def separation(rows: CachedRows, index: Index, workers: int, most: int = SAMPLE_ROWS) -> Separation:
    """Return the exact areas on a sample: rows evenly spread over the split, ``most`` or as many as 256 MB hold.

    A layer with fewer rows is used as a whole. Rows at ignored objects are left out (`row_labels`).

    Raises:
        InputError: the index is of other images.
    """
    labels = row_labels(rows, index)
    most = max(2, min(most, SAMPLE_MB * (1 << 20) // (rows.width * rows.array.dtype.itemsize)))
    usable = np.flatnonzero(labels != IGNORED)
    picked = usable[np.linspace(0, len(usable), min(most, len(usable)), endpoint=False).astype(np.int64)]
    sample = rows.take(picked, workers)
    classes = np.arange(1, len(index.classes) + 1)
    positive = labels[picked][None, :] == classes[:, None]
    parts = [areas(as_float32(sample[:, i : i + _AT_ONCE]), positive) for i in range(0, rows.width, _AT_ONCE)]
    return Separation(index.classes, np.concatenate(parts), positive.sum(axis=1), len(picked), len(rows))


def areas(values: NDArray[np.float32], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the area under the ROC curve of each column for each class, ``(units, classes)``.

    Args:
        values: ``(rows, units)``; what is not finite counts as 0.
        positive: ``(classes, rows)``.
    """
    from scipy.stats import rankdata

    ranks = rankdata(np.where(np.isfinite(values), values, 0), axis=0)
    inside = positive.sum(axis=1)
    pairs = inside * (positive.shape[1] - inside)
    # Mann and Whitney: the ranks of the positives, less those that they have among themselves.
    wins = ranks.T @ positive.T.astype(np.float64) - inside * (inside + 1) / 2
    return np.divide(wins, pairs, out=np.full(wins.shape, np.nan), where=pairs > 0)
