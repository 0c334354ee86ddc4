"""What a cache holds, from one pass over it: origin, bytes, zeros, norms, dead units, values that are not finite."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import best_match
from pipeline.features.cache import FeatureCache
from pipeline.inspect.reading.bits import first_not_finite, from_magnitudes, magnitudes, widened
from pipeline.inspect.reading.cached_rows import CachedRows
from pipeline.inspect.reading.opening import shards_on_disk, stored_bytes

# Norms are counted in so many bins, which a picture shows, from so many fine ones, which the pass fills: their width
# doubles whenever a norm would lie beyond the last.
NORM_BINS = 40
_FINE_BINS = 2048
OVERLAP_STEPS = 10


@dataclass(frozen=True)
class LayerSummary:
    """What one layer holds.

    Attributes:
        layer: its name.
        shape: rows and units.
        dtype: of the values.
        chunk_rows: rows decoded together.
        shard_rows: rows of one file.
        shards_found: files that are there.
        shards_expected: files that should be; an absent one reads as zeros.
        raw_bytes: before compression.
        stored_bytes: on disk.
        zeros: share of the values.
        greatest: largest absolute value that is finite.
        mean_norm: mean Euclidean length of the rows without values that are not finite.
        norm_edges: ``(NORM_BINS + 1,)`` float64, from 0.
        norm_counts: ``(NORM_BINS,)`` int64.
        dead: units that are 0 in all rows, int64.
        not_finite: ``(K, 2)`` int64, the unit and its number of values that are not finite, for units with any.
        rows_not_finite: int64, the first rows with such a value, at most 10.
    """

    layer: str
    shape: tuple[int, int]
    dtype: str
    chunk_rows: int
    shard_rows: int
    shards_found: int
    shards_expected: int
    raw_bytes: int
    stored_bytes: int
    zeros: float
    greatest: float
    mean_norm: float
    norm_edges: NDArray[np.float64]
    norm_counts: NDArray[np.int64]
    dead: NDArray[np.int64]
    not_finite: NDArray[np.int64]
    rows_not_finite: NDArray[np.int64]

    @property
    def ratio(self) -> float:
        """Return how many times smaller compression made it."""
        return self.raw_bytes / self.stored_bytes if self.stored_bytes else float("nan")


@dataclass(frozen=True)
class Summary:
    """What a cache holds.

    Attributes:
        path: of the cache.
        attributes: what it was made with.
        row_name: ``region`` or ``cell``.
        images: number of images.
        rows_per_image: least, median and greatest number.
        ground_truth: number of rows that are objects; None for maps.
        overlap: ``(10,)`` int64, the other rows by their best overlap (IoU) with an object of their image: 0 to 0.1,
            and so on; an overlap of 0.5 counts in 0.5 to 0.6. None for maps.
        layers: each layer's own figures.
    """

    path: Path
    attributes: Mapping[str, Any]
    row_name: str
    images: int
    rows_per_image: tuple[int, int, int]
    ground_truth: int | None
    overlap: NDArray[np.int64] | None
    layers: tuple[LayerSummary, ...]


def summarise(cache: FeatureCache, workers: int) -> Summary:
    """Read every layer of ``cache`` once, with ``workers`` threads, and return what it holds.

    Memory does not grow with the cache; the numbers do not depend on ``workers``.

    Raises:
        InputError: offsets and rows disagree.
    """
    layers = [CachedRows.of(cache, name) for name in cache.layers()]
    rows = layers[0]
    counts = np.diff(rows.offsets)
    return Summary(
        path=cache.path,
        attributes=cache.attributes,
        row_name=rows.row_name,
        images=len(counts),
        rows_per_image=(int(counts.min()), int(np.median(counts)), int(counts.max())) if len(counts) else (0, 0, 0),
        ground_truth=int(rows.is_ground_truth.sum()) if rows.of_regions else None,
        overlap=count_by_overlap(rows) if rows.of_regions else None,
        layers=tuple(summarise_layer(layer, workers) for layer in layers),
    )


def summarise_layer(rows: CachedRows, workers: int) -> LayerSummary:
    """Read one layer once and return what it holds."""
    total = _Totals(rows.width)
    for start, block in rows.map(_look, workers):
        total.add(start, block)
    found, expected = shards_on_disk(rows.array)
    edges, counts = total.norms.coarse()
    bad = np.flatnonzero(total.not_finite)
    return LayerSummary(
        layer=rows.layer,
        shape=(len(rows), rows.width),
        dtype=str(rows.array.dtype),
        chunk_rows=rows.array.chunks[0],
        shard_rows=(rows.array.shards or rows.array.chunks)[0],
        shards_found=found,
        shards_expected=expected,
        raw_bytes=len(rows) * rows.width * rows.array.dtype.itemsize,
        stored_bytes=stored_bytes(rows.array),
        zeros=1 - total.nonzero / max(1, len(rows) * rows.width),
        greatest=float(from_magnitudes(total.greatest).max(initial=0)) if len(rows) else 0.0,
        mean_norm=total.norms.mean(),
        norm_edges=edges,
        norm_counts=counts,
        dead=np.flatnonzero((total.greatest == 0) & (total.not_finite == 0)) if len(rows) else np.zeros(0, np.int64),
        not_finite=np.stack([bad, total.not_finite[bad]], axis=1),
        rows_not_finite=np.array(total.bad_rows[:10], np.int64),
    )


def count_by_overlap(rows: CachedRows) -> NDArray[np.int64]:
    """Count the rows that are no objects by their best overlap with an object of their image, ``(10,)`` int64."""
    counts = np.zeros(OVERLAP_STEPS, np.int64)
    boxes, truth = rows.boxes, rows.is_ground_truth
    for start, stop in zip(rows.offsets[:-1], rows.offsets[1:], strict=True):
        mine, objects = boxes[start:stop], truth[start:stop]
        _, overlap = best_match(mine[~objects], mine[objects])
        step = np.minimum((overlap * np.float32(OVERLAP_STEPS)).astype(np.int64), OVERLAP_STEPS - 1)
        counts += np.bincount(step, minlength=OVERLAP_STEPS)
    return counts


@dataclass(frozen=True)
class _Look:
    """What one block shows: per unit the greatest finite magnitude and the values that are not finite, and norms."""

    greatest: NDArray[np.unsignedinteger]
    nonzero: int
    not_finite: NDArray[np.int64]
    bad_rows: NDArray[np.int64]
    norms: NDArray[np.float32]


def _look(_: int, block: NDArray) -> _Look:
    size = magnitudes(block)
    limit = first_not_finite(block.dtype)
    nonzero = int(np.count_nonzero(size))
    greatest = size.max(axis=0, initial=0)
    not_finite, bad_rows = np.zeros(block.shape[1], np.int64), np.zeros(0, np.int64)
    if greatest.max(initial=0) >= limit:
        bad = size >= limit
        not_finite, bad_rows = bad.sum(axis=0), np.flatnonzero(bad.any(axis=1))
        size[bad] = 0
        greatest = size.max(axis=0, initial=0)
    values = widened(size)
    norms = np.sqrt(np.einsum("ij,ij->i", values, values))
    return _Look(greatest, nonzero, not_finite, bad_rows, np.delete(norms, bad_rows))


class _Totals:
    """The sum of all blocks so far."""

    def __init__(self, width: int) -> None:
        self.greatest: NDArray[np.unsignedinteger] = np.zeros(width, np.uint16)
        self.nonzero = 0
        self.not_finite = np.zeros(width, np.int64)
        self.bad_rows: list[int] = []
        self.norms = _Norms()

    def add(self, start: int, look: _Look) -> None:
        self.greatest = np.maximum(self.greatest, look.greatest)
        self.nonzero += look.nonzero
        self.not_finite += look.not_finite
        if len(self.bad_rows) < 10:
            self.bad_rows += (start + look.bad_rows[:10]).tolist()
        self.norms.add(look.norms)


class _Norms:
    """A histogram from 0 that widens as it must, and the exact mean."""

    def __init__(self) -> None:
        self._counts = np.zeros(_FINE_BINS, np.int64)
        self._top = 2.0**-10
        self._sum, self._number, self._greatest = 0.0, 0, 0.0

    def add(self, norms: NDArray[np.float32]) -> None:
        self._greatest = max(self._greatest, float(norms.max(initial=0)))
        while self._greatest >= self._top:  # two bins become one
            self._counts = np.concatenate([self._counts.reshape(-1, 2).sum(axis=1), np.zeros_like(self._counts[::2])])
            self._top *= 2
        bins = (norms.astype(np.float64) / self._top * _FINE_BINS).astype(np.int64)
        self._counts += np.bincount(bins, minlength=_FINE_BINS)
        self._sum += float(norms.sum(dtype=np.float64))
        self._number += len(norms)

    def mean(self) -> float:
        return self._sum / self._number if self._number else float("nan")

    def coarse(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return edges and counts of `NORM_BINS` bins of equal width that reach just past the greatest norm."""
        used = int(self._greatest / self._top * _FINE_BINS) + 1
        each = -(-used // NORM_BINS)
        counts = np.zeros(each * NORM_BINS, np.int64)
        part = self._counts[: len(counts)]
        counts[: len(part)] = part
        edges = np.arange(NORM_BINS + 1) * each * self._top / _FINE_BINS
        return edges, counts.reshape(NORM_BINS, each).sum(axis=1)
