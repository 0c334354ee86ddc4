"""``boxline inspect export``: a part of a cache as HDF5 or NumPy, with boxes, ids and classes beside the features."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from pipeline.core import runtime
from pipeline.core.boxes import Boxes
from pipeline.core.errors import InputError
from pipeline.core.storage import atomic
from pipeline.data.index import Index
from pipeline.inspect.options import DEFAULT_SYSTEM, LayerOption, SplitName, SplitOption, SystemOption, numbers
from pipeline.inspect.paths import cache_path, load_index, open_cache
from pipeline.inspect.regions import row_labels
from pipeline.inspect.rows import CachedRows

SUFFIXES = (".h5", ".hdf5", ".npz")


def export(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write: .h5, .hdf5 or .npz.")],
    system: SystemOption = DEFAULT_SYSTEM,
    split: SplitOption = SplitName.TEST,
    layer: LayerOption = None,
    images: Annotated[
        str | None, typer.Option("--images", metavar="3,17,40-47", help="Only images of these ids.")
    ] = None,
    rows: Annotated[str | None, typer.Option("--rows", metavar="FIRST:STOP", help="Only this stretch of rows.")] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME", help="Only rows of this class; may be repeated."),
    ] = None,
) -> None:
    """Write a part of a cache for other tools: features, boxes, image ids, classes and the settings of the cache."""
    if out.suffix not in SUFFIXES:
        raise typer.BadParameter(f"{out} must end in {', '.join(SUFFIXES)}.", param_hint="OUT")
    source = CachedRows(open_cache(cache_path(system, split)), layer, runtime.worker_count(0))
    span = _span(rows, len(source)) if rows is not None else None
    chosen = choose(source, load_index(split), image_ids=numbers(images, "--images"), span=span, classes=classes)
    write(out, source, chosen)
    typer.echo(
        f"wrote {out}: {len(chosen.rows):,} of {len(source):,} {source.row_name}s, "
        f"{source.width:,} units of {source.layer}"
    )


def _span(text: str, rows: int) -> tuple[int, int]:
    first, colon, stop = text.partition(":")
    try:
        span = int(first or 0), int(stop or rows)
    except ValueError:
        colon = ""
    if not colon:
        raise typer.BadParameter(f"{text} is no stretch of rows; 100:200 would be one.", param_hint="--rows")
    return span


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
        attributes: the settings of the cache, and the layer.
    """

    rows: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    boxes: Boxes
    is_ground_truth: NDArray[np.bool_]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    attributes: dict[str, Any]

    def arrays(self) -> dict[str, NDArray]:
        """Return the arrays that are written beside the features."""
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
    labels, row_image_ids = row_labels(layer, index), np.repeat(layer.image_ids, np.diff(layer.offsets))
    wanted = np.ones(len(layer), np.bool_)
    if image_ids is not None:
        unknown = sorted(set(image_ids) - set(layer.image_ids.tolist()))
        if unknown:
            raise InputError(f"{layer.path}: holds no image with the id {unknown[0]}.")
        wanted &= np.isin(row_image_ids, image_ids)
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
        raise InputError(f"{layer.path}: none of its {len(layer):,} rows is wanted; fewer conditions would help.")
    return Slice(
        rows=rows,
        image_ids=row_image_ids[rows],
        boxes=layer.boxes[rows],
        is_ground_truth=layer.is_ground_truth[rows],
        labels=labels[rows],
        classes=index.classes,
        attributes={**layer.cache.attributes, "layer": layer.layer, "cache": str(layer.path)},
    )


def write(path: Path, layer: CachedRows, chosen: Slice) -> None:
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
            _write_npz(temporary, layer, chosen)
        else:
            _write_hdf5(temporary, layer, chosen)


def _write_npz(path: Path, layer: CachedRows, chosen: Slice) -> None:
    with path.open("wb") as stream:  # given a name, NumPy would append a suffix
        np.savez(
            stream,
            features=layer.take(chosen.rows),
            classes=np.array(chosen.classes, np.str_),
            attributes=np.array(json.dumps(chosen.attributes)),
            **chosen.arrays(),  # type: ignore[arg-type]
        )


def _write_hdf5(path: Path, layer: CachedRows, chosen: Slice) -> None:
    import h5py

    rows = chosen.rows
    with h5py.File(path, "w", track_order=True) as file:
        features = file.create_dataset("features", (len(rows), layer.width), layer.array.dtype, track_times=False)
        start = 0
        for part in layer.parts(rows):
            features[start : start + len(part)] = part
            start += len(part)
        for name, values in chosen.arrays().items():
            file.create_dataset(name, data=values, track_times=False)
        file.attrs["classes"] = list(chosen.classes)
        file.attrs["attributes"] = json.dumps(chosen.attributes)
