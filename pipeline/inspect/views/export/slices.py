"""A part of a cache as HDF5 or NumPy, with boxes, ids and classes beside the features, for other tools."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes
from pipeline.core.errors import InputError
from pipeline.core.storage import atomic
from pipeline.data.index import Index
from pipeline.inspect.describing.labels import row_labels
from pipeline.inspect.reading.cached_rows import CachedRows

SUFFIXES = (".h5", ".hdf5", ".npz")


@dataclass(frozen=True)
class Slice:
    """Some rows of a layer.

    Attributes:
        rows: ``(N,)`` int64, their places in the cache.
        image_ids: ``(N,)`` int64.
        boxes: ``(N, 4)`` float32, in pixels of the image; receptive fields for cells of maps.
        is_ground_truth: ``(N,)`` bool.
        labels: ``(N,)`` int64: category id, 0 background, -1 ignored object.
        classes: names; category id 1 first.
        attributes: what the cache was made with, and the layer.
    """

    rows: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    boxes: Boxes
    is_ground_truth: NDArray[np.bool_]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    attributes: dict[str, Any]

    def arrays(self) -> dict[str, NDArray]:
        """Return what is written beside the features."""
        names = ("rows", "image_ids", "boxes", "is_ground_truth", "labels")
        return {name: getattr(self, name) for name in names}


def choose(
    layer: CachedRows,
    index: Index,
    *,
    image_ids: Sequence[int] | None = None,
    span: tuple[int, int] | None = None,
    classes: Sequence[str] | None = None,
) -> Slice:
    """Return the rows that satisfy every condition that is given.

    Args:
        layer: of the cache.
        index: of the same split.
        image_ids: of these images.
        span: of this stretch of rows, half-open.
        classes: that show one of these classes (`row_labels`).

    Raises:
        InputError: an image or a class is unknown, or no row is left.
    """
    labels = row_labels(layer, index)
    wanted = np.ones(len(layer), np.bool_)
    if image_ids is not None:
        unknown = sorted(set(image_ids) - set(layer.image_ids.tolist()))
        if unknown:
            raise InputError(f"{layer.cache.path}: holds no image with the id {unknown[0]}.")
        wanted &= np.repeat(np.isin(layer.image_ids, image_ids), np.diff(layer.offsets))
    if span is not None:
        places = np.arange(len(layer))
        wanted &= (places >= span[0]) & (places < span[1])
    if classes is not None:
        unknown_classes = [name for name in classes if name not in index.classes]
        if unknown_classes:
            raise InputError(f"no class is called {unknown_classes[0]}; the classes are {', '.join(index.classes)}.")
        wanted &= np.isin(labels, [index.classes.index(name) + 1 for name in classes])
    rows = np.flatnonzero(wanted)
    if not len(rows):
        raise InputError(f"{layer.cache.path}: none of its {len(layer):,} rows is wanted; fewer conditions would help.")
    return Slice(
        rows=rows,
        image_ids=layer.image_ids[layer.image_of(rows)],
        boxes=layer.boxes[rows],
        is_ground_truth=layer.is_ground_truth[rows],
        labels=labels[rows],
        classes=index.classes,
        attributes={**layer.cache.attributes, "layer": layer.layer, "cache": str(layer.cache.path)},
    )


def write(path: Path, layer: CachedRows, chosen: Slice, workers: int) -> None:
    """Write the chosen rows to ``path``, an HDF5 file (``.h5``, ``.hdf5``) or a NumPy archive (``.npz``).

    Both hold ``features`` ``(N, units)`` in the cache's type and the arrays of `Slice`. In HDF5, ``classes`` and
    ``attributes`` (JSON) are attributes of the file, and rows are written as they are read; in NumPy they are arrays
    of text, and all rows must fit into memory. Nothing is pickled.

    Raises:
        InputError: another suffix.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: the suffix must be one of {', '.join(SUFFIXES)}.")
    with atomic(path) as temporary:
        if path.suffix == ".npz":
            _write_npz(temporary, layer, chosen, workers)
        else:
            _write_hdf5(temporary, layer, chosen, workers)


def _write_npz(path: Path, layer: CachedRows, chosen: Slice, workers: int) -> None:
    with path.open("wb") as stream:  # given a name, NumPy would append a suffix
        np.savez(
            stream,
            features=layer.take(chosen.rows, workers),
            classes=np.array(chosen.classes, np.str_),
            attributes=np.array(json.dumps(chosen.attributes)),
            **chosen.arrays(),  # type: ignore[arg-type]
        )


def _write_hdf5(path: Path, layer: CachedRows, chosen: Slice, workers: int) -> None:
    import h5py

    rows = chosen.rows
    with h5py.File(path, "w", track_order=True) as file:
        features = file.create_dataset("features", (len(rows), layer.width), layer.array.dtype, track_times=False)
        start = 0
        for part in layer.parts(rows, workers):
            features[start : start + len(part)] = part
            start += len(part)
        for name, values in chosen.arrays().items():
            file.create_dataset(name, data=values, track_times=False)
        file.attrs["classes"] = list(chosen.classes)
        file.attrs["attributes"] = json.dumps(chosen.attributes)
