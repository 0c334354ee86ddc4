"""How two caches of the same rows differ, value by value, and how many decisions of the SVMs that turns."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import InputError
from pipeline.features.cache import FeatureCache
from pipeline.inspect.reading.bits import as_float32
from pipeline.inspect.reading.cached_rows import CachedRows
from pipeline.inspect.views.diff.parts import Part, compare
from pipeline.linear.model import LinearModel

# Several float32 copies of a block are held by each thread.
BLOCK_MB = 4
SIMILARITY_ROWS = 2048
# What differs between any two runs, and explains nothing.
_MARKS = ("fingerprint", "weights")


@dataclass(frozen=True)
class Difference:
    """How layer B differs from layer A.

    Attributes:
        names: of A and B.
        dtypes: of both.
        row_name: ``region`` or ``cell``.
        shape: rows and units, of both.
        attributes: name, A's and B's value of what they were made with, where these differ.
        total: sums over all rows.
    """

    names: tuple[str, str]
    dtypes: tuple[str, str]
    row_name: str
    shape: tuple[int, int]
    attributes: tuple[tuple[str, Any, Any], ...]
    total: Part

    @property
    def equal(self) -> float:
        """Return the share of values that are equal."""
        return self.total.equal / (self.shape[0] * self.shape[1])

    @property
    def by_unit(self) -> NDArray[np.float64]:
        """Return each unit's mean absolute difference, ``(units,)``."""
        return self.total.by_unit / self.shape[0]

    @property
    def norms(self) -> tuple[float, float]:
        """Return the mean norm of A's and of B's rows."""
        return float(self.total.norms[0]) / self.shape[0], float(self.total.norms[1]) / self.shape[0]

    @property
    def relative(self) -> float:
        """Return the mean of ``|a - b| / |a|`` over A's rows that are not 0; NaN where all are."""
        return self.total.relative / self.total.relative_rows if self.total.relative_rows else float("nan")


@dataclass(frozen=True)
class Similarity:
    """How alike two layers of unlike widths see the same rows.

    Attributes:
        names: of both layers.
        widths: of both.
        rows: evenly spaced ones, on which ``cka`` was computed.
        cka: linear centred kernel alignment, 0 to 1; 1 for layers that differ by a rotation and a scale. NaN where a
            layer is constant. Source: Kornblith et al., Similarity of neural network representations revisited, 2019.
    """

    names: tuple[str, str]
    widths: tuple[int, int]
    rows: int
    cka: float


def difference(a: CachedRows, b: CachedRows, svm: LinearModel | None, workers: int) -> Difference:
    """Read both layers once, block by block, and return how they differ.

    Args:
        a: the one.
        b: the other, as wide and of the same rows.
        svm: whose decisions to compare; None compares none.
        workers: threads; they change nothing.

    Raises:
        InputError: the rows are not the same or there are none, or the widths differ, or do not fit ``svm``; the
            sentence says what differs.
    """
    check_same_rows(a, b)
    if a.width != b.width:
        raise InputError(f"{name(a)} has {a.width} units and {name(b)} {b.width}: no value has a counterpart.")
    if svm is not None and svm.weights.shape[1] != a.width:
        raise InputError(f"the SVMs weigh {svm.weights.shape[1]} units, but {name(a)} has {a.width}.")
    truth = a.is_ground_truth

    def look(start: int, block: NDArray) -> Part:
        stop = start + len(block)
        return compare(start, as_float32(block), as_float32(b.array[start:stop]), svm, ~truth[start:stop])

    return Difference(
        names=(name(a), name(b)),
        dtypes=(str(a.array.dtype), str(b.array.dtype)),
        row_name=a.row_name,
        shape=(len(a), a.width),
        attributes=changed_attributes(a, b),
        total=reduce(Part.plus, (part for _, part in a.map(look, workers, BLOCK_MB))),
    )


def similarity(a: CachedRows, b: CachedRows, workers: int, most: int = SIMILARITY_ROWS) -> Similarity:
    """Return how alike two layers of the same rows are, whatever their widths, on ``most`` rows evenly spaced.

    Raises:
        InputError: the rows are not the same.
    """
    check_same_rows(a, b)
    picked = np.linspace(0, len(a), min(most, len(a)), endpoint=False).astype(np.int64)
    grams = [_centred_gram(rows.take(picked, workers)) for rows in (a, b)]
    scale = float(np.linalg.norm(grams[0]) * np.linalg.norm(grams[1]))
    cka = float((grams[0] * grams[1]).sum()) / scale if scale else float("nan")
    return Similarity((name(a), name(b)), (a.width, b.width), len(picked), cka)


def pairs_of_layers(
    a: FeatureCache, layer_a: str | None, b: FeatureCache, layer_b: str | None
) -> list[tuple[CachedRows, CachedRows]]:
    """Return the layers to compare: those named, one named for both, or all that both caches hold.

    Raises:
        InputError: a named layer is not cached, or the caches share none.
    """
    if layer_a or layer_b:
        names = [(layer_a or layer_b or "", layer_b or layer_a or "")]
    else:
        names = [(layer, layer) for layer in a.layers() if layer in b.layers()]
    if not names:
        raise InputError(
            f"{a.path} holds {', '.join(a.layers())} and {b.path} {', '.join(b.layers())}: no layer is in both; "
            f"{a.path}:{a.layers()[0]} and {b.path}:{b.layers()[0]} would name one of each."
        )
    return [(CachedRows.of(a, first), CachedRows.of(b, second)) for first, second in names]


def check_same_rows(a: CachedRows, b: CachedRows) -> None:
    """Check that each row of ``a`` and the same row of ``b`` look at the same pixels, and that there is one.

    Raises:
        InputError: they do not; the sentence says what differs.
    """
    what = None
    if a.row_name != b.row_name:
        what = f"the rows are {a.row_name}s in the one and {b.row_name}s in the other"
    elif a.image_ids.tolist() != b.image_ids.tolist():
        what = f"they are of other images, {len(a.image_ids):,} and {len(b.image_ids):,}"
    elif a.offsets.tolist() != b.offsets.tolist():
        image = int(np.flatnonzero(a.offsets != b.offsets)[0]) - 1
        counts = (int(rows.offsets[image + 1] - rows.offsets[image]) for rows in (a, b))
        what = "image {} has {:,} rows in the one and {:,} in the other".format(a.image_ids[image], *counts)
    elif len(wrong := np.flatnonzero((a.boxes != b.boxes).any(axis=1))):
        what = f"the boxes of {len(wrong):,} rows differ, first of row {wrong[0]}"
    elif not len(a):
        what = "they have no rows"
    if what is not None:
        settings = "; ".join(f"{key} {x} and {y}" for key, x, y in changed_attributes(a, b) if key not in _MARKS)
        more = f" ({settings})" if settings else ""
        raise InputError(f"{name(a)} and {name(b)} cannot be compared row by row: {what}{more}.")


def changed_attributes(a: CachedRows, b: CachedRows) -> tuple[tuple[str, Any, Any], ...]:
    """Return name and both values of the attributes that differ, nested ones under dotted names."""
    left, right = _flat(a.cache.attributes), _flat(b.cache.attributes)
    keys = [*left, *(key for key in right if key not in left)]
    return tuple((key, left.get(key), right.get(key)) for key in keys if left.get(key) != right.get(key))


def name(rows: CachedRows) -> str:
    """Return how a layer is called in messages and on the command line."""
    return f"{rows.cache.path}:{rows.layer}"


def _centred_gram(values: NDArray) -> NDArray[np.float64]:
    wide = values.astype(np.float64)
    wide -= wide.mean(axis=0)
    return wide @ wide.T


def _flat(attributes: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in attributes.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return found
