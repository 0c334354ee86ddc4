"""What two stretches of rows differ by, and the sum over all stretches."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.linear.model import LinearModel

# Relative differences of rows are counted by their power of ten, four bins each, from 1e-8 up to 10.
RELATIVE_EDGES = np.logspace(-8, 1, 37)


@dataclass(frozen=True)
class Flips:
    """Decisions of linear SVMs that differ between two caches; ground truth is left out.

    Attributes:
        rows: that were judged.
        labels: ``(C,)`` int64, category ids of the classes with an SVM.
        positive_a: ``(C,)`` int64, rows with a score above 0 in the first cache.
        positive_b: ``(C,)`` int64, in the second.
        changed: ``(C,)`` int64, rows with a score above 0 in one of them only.
        best_changed: rows whose best class is another.
        greatest: largest change of a score.
    """

    rows: int
    labels: NDArray[np.int64]
    positive_a: NDArray[np.int64]
    positive_b: NDArray[np.int64]
    changed: NDArray[np.int64]
    best_changed: int
    greatest: float

    def plus(self, other: "Flips") -> "Flips":
        """Return the decisions of both stretches."""
        return Flips(
            self.rows + other.rows,
            self.labels,
            self.positive_a + other.positive_a,
            self.positive_b + other.positive_b,
            self.changed + other.changed,
            self.best_changed + other.best_changed,
            max(self.greatest, other.greatest),
        )


@dataclass(frozen=True)
class Part:
    """What a stretch of rows differs by.

    Attributes:
        equal: values that are equal; NaN equals NaN.
        not_finite: values that are not finite in one or both; the figures below take them for equal.
        greatest: largest absolute difference; at ``place``, row and unit.
        place: see ``greatest``.
        by_unit: ``(units,)`` float64, sums of absolute differences.
        norms: ``(2,)`` float64, sums of the norms of A's and of B's rows.
        relative: sum of ``|a - b| / |a|`` over A's rows that are not 0.
        relative_rows: number of these.
        relative_counts: ``(36,)`` int64, those above 0 between `RELATIVE_EDGES`; what lies outside is counted in the
            first or the last.
        equal_rows: rows without any difference.
        flips: decisions, where there is an SVM.
    """

    equal: int
    not_finite: int
    greatest: float
    place: tuple[int, int]
    by_unit: NDArray[np.float64]
    norms: NDArray[np.float64]
    relative: float
    relative_rows: int
    relative_counts: NDArray[np.int64]
    equal_rows: int
    flips: Flips | None

    def plus(self, other: "Part") -> "Part":
        """Return what both stretches differ by."""
        further = other if other.greatest > self.greatest else self
        return Part(
            equal=self.equal + other.equal,
            not_finite=self.not_finite + other.not_finite,
            greatest=further.greatest,
            place=further.place,
            by_unit=self.by_unit + other.by_unit,
            norms=self.norms + other.norms,
            relative=self.relative + other.relative,
            relative_rows=self.relative_rows + other.relative_rows,
            relative_counts=self.relative_counts + other.relative_counts,
            equal_rows=self.equal_rows + other.equal_rows,
            flips=self.flips.plus(other.flips) if self.flips is not None and other.flips is not None else None,
        )


def compare(
    start: int, a: NDArray[np.float32], b: NDArray[np.float32], svm: LinearModel | None, judged: NDArray[np.bool_]
) -> Part:
    """Return what ``a`` and ``b`` ``(N, units)`` differ by, the rows from ``start`` on; N is 1 or more.

    ``svm`` judges the rows marked in ``judged`` ``(N,)``.
    """
    finite = np.isfinite(a) & np.isfinite(b)
    equal = (a == b) | (np.isnan(a) & np.isnan(b))
    if not finite.all():
        a, b = np.where(finite, a, 0), np.where(finite, b, 0)
    gap = np.abs(a - b)
    row, unit = divmod(int(gap.argmax()), gap.shape[1])
    norm_a, norm_b, norm_gap = (np.sqrt(np.einsum("ij,ij->i", values, values)) for values in (a, b, gap))
    relative = norm_gap[norm_a > 0].astype(np.float64) / norm_a[norm_a > 0]
    counted = np.clip(relative[relative > 0], RELATIVE_EDGES[0], RELATIVE_EDGES[-1])
    return Part(
        equal=int(np.count_nonzero(equal)),
        not_finite=int(finite.size - np.count_nonzero(finite)),
        greatest=float(gap[row, unit]),
        place=(start + row, unit),
        by_unit=gap.sum(axis=0, dtype=np.float64),
        norms=np.array([norm_a.sum(dtype=np.float64), norm_b.sum(dtype=np.float64)]),
        relative=float(relative.sum()),
        relative_rows=len(relative),
        relative_counts=np.histogram(counted, RELATIVE_EDGES)[0],
        equal_rows=int(np.count_nonzero(equal.all(axis=1))),
        flips=_flips(a[judged], b[judged], svm) if svm is not None else None,
    )


def _flips(a: NDArray[np.float32], b: NDArray[np.float32], svm: LinearModel) -> Flips:
    places = svm.known - 1
    score_a, score_b = svm(a)[:, places], svm(b)[:, places]
    above_a, above_b = score_a > 0, score_b > 0
    best = score_a.argmax(axis=1) != score_b.argmax(axis=1) if len(places) else np.zeros(len(a), np.bool_)
    return Flips(
        rows=len(a),
        labels=svm.known,
        positive_a=above_a.sum(axis=0),
        positive_b=above_b.sum(axis=0),
        changed=(above_a != above_b).sum(axis=0),
        best_changed=int(best.sum()),
        greatest=float(np.abs(score_a - score_b).max(initial=0)),
    )
