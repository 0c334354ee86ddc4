"""``boxline inspect neighbours``: the regions that look most like a given one to the network, by cosine."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from pipeline.core.errors import InputError
from pipeline.data.index import Index
from pipeline.inspect.drawing import INK, QUIET, Rendering, Section, box_text, colour_of, draw_crop, lettering, table
from pipeline.inspect.options import (
    DEFAULT_SYSTEM,
    HtmlOption,
    PngOption,
    RegionLayerOption,
    SplitName,
    SystemOption,
    show,
)
from pipeline.inspect.paths import image_of_project, image_root, load_index
from pipeline.inspect.regions import DescribedRegions, check_region, describe, parse_region
from pipeline.inspect.rows import RegionRows, as_float32, float32_stretches, region_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 6


def neighbours(
    wanted: Annotated[
        str,
        typer.Argument(metavar="IMAGE:REGION", help="An image as for `image`, and the number of one of its regions."),
    ],
    system: SystemOption = DEFAULT_SYSTEM,
    layer: RegionLayerOption = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many neighbours.")] = 12,
    same_image: Annotated[
        bool, typer.Option("--same-image/--no-same-image", help="Whether regions of the same image count.")
    ] = False,
    split: Annotated[
        SplitName | None,
        typer.Option("--split", help="Where to look for neighbours; the image's own if none is named."),
    ] = None,
    png: PngOption = None,
    html: HtmlOption = None,
) -> None:
    """The regions whose features point most nearly the same way as those of one region (cosine)."""
    name, region = parse_region(wanted)
    image, index = image_of_project(name)
    rows = region_rows(system, image.split, index, layer)
    check_region(region, image.record, rows.offsets, image.position)
    among = None
    if split is not None and split != image.split:
        other = load_index(split)
        among = region_rows(system, split, other, rows.layer), other
    view = neighbours_of(rows, index, image.position, region, top, same_image=same_image, among=among)
    show(render(view, image_root()), png, html)


@dataclass(frozen=True)
class Neighbours:
    """A region and those nearest to it.

    Attributes:
        layer: whose features were compared.
        classes: of the dataset.
        query: the one region asked about.
        nearest: as many as were asked for, or all where there are fewer, the most similar first.
        similarities: ``(len(nearest),)`` float32, cosines.
    """

    layer: str
    classes: tuple[str, ...]
    query: DescribedRegions
    nearest: DescribedRegions
    similarities: NDArray[np.float32]


def neighbours_of(
    rows: RegionRows,
    index: Index,
    position: int,
    region: int,
    top: int,
    *,
    same_image: bool = False,
    among: tuple[RegionRows, Index] | None = None,
) -> Neighbours:
    """Return the ``top`` regions nearest to one region, which is never its own neighbour.

    The features are read once, in blocks; memory does not grow with the cache.

    Args:
        rows: features of the split that holds the region.
        index: of that split.
        position: of the region's image in ``index``.
        region: its number in the image.
        top: how many to return.
        same_image: whether regions of the same image count.
        among: another split's features and index, to search there.

    Raises:
        InputError: the features of the region are all zero, so that it has no direction.
    """
    row = int(rows.offsets[position]) + region
    features = as_float32(rows.take(np.array([row])))[0]
    query = describe(rows.offsets, rows.boxes, index, np.array([row]))
    if not np.any(features):
        raise InputError(
            f"{query.name(0)}: its {rows.layer} is zero in every unit and like no other region; "
            "another layer or region would do."
        )
    searched, searched_index = among or (rows, index)
    left_out = slice(0, 0)
    if among is None:
        left_out = slice(row, row + 1) if same_image else slice(*rows.offsets[position : position + 2].tolist())
    places, similarities = nearest(searched, features, top, left_out)
    described = describe(searched.offsets, searched.boxes, searched_index, places)
    return Neighbours(rows.layer, index.classes, query, described, similarities)


def nearest(
    rows: RegionRows, query: NDArray[np.float32], top: int, left_out: slice = slice(0, 0)
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the numbers of the ``top`` rows with the greatest cosine to ``query`` ``(width,)``, and the cosines.

    Both are ``(K,)``, K at most ``top``, the greatest first; of equal cosines the first row. Rows of ``left_out`` and
    rows with values that are not finite are passed over; a row of zeros has the cosine 0. Cosines are float32.
    """
    direction = query / np.linalg.norm(query)
    best, cosines = np.zeros(0, np.int64), np.zeros(0, np.float32)
    for start, block in rows.map(lambda _, block: _cosines(block, direction)):
        block[max(0, left_out.start - start) : max(0, left_out.stop - start)] = -np.inf
        least = cosines[-1] if len(cosines) == top else np.float32(-np.inf)
        candidates = np.flatnonzero(block > least)
        best = np.concatenate([best, start + candidates])
        cosines = np.concatenate([cosines, block[candidates]])
        order = np.argsort(-cosines, kind="stable")[:top]
        best, cosines = best[order], cosines[order]
    return best, cosines


def _cosines(block: NDArray, direction: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine of each row of ``block`` (n, width) to a vector of length 1, -inf where it is no number."""
    parts = [np.zeros(0, np.float32)]
    for values in float32_stretches(block):
        with np.errstate(invalid="ignore"):
            lengths = np.sqrt(np.einsum("ij,ij->i", values, values))
            parts.append(values @ direction / np.maximum(lengths, np.finfo(np.float32).tiny))
    cosines = np.concatenate(parts)
    return np.where(np.isfinite(cosines), cosines, -np.inf).astype(np.float32)


# --- text and picture ------------------------------------------------------------------------------------------------


def render(view: Neighbours, root: Path) -> Rendering:
    """Return the text and the picture of a region's neighbours; image files are relative to ``root``."""
    title = f"Nearest to {view.query.name(0)} in {view.layer}"
    kind, overlap = view.query.class_name(0, view.classes), view.query.overlaps[0]
    query = f"{kind}, overlap {overlap:.2f}, box {box_text(view.query.boxes[0])}"
    return Rendering(title, (Section(title, query), Section("", _table(view))), lambda: figure(view, root))


def figure(view: Neighbours, root: Path) -> "Figure":
    """Return a matplotlib figure: the region at the left, its neighbours beside it, the most similar first.

    Each is outlined in the colour of its class, grey for the background.

    Raises:
        UnreadableImageError: an image is missing or broken.
    """
    from matplotlib.figure import Figure

    from pipeline.data.images import read_image

    pictures = {file: read_image(root / file) for file in {*view.query.files, *view.nearest.files}}
    lines = max(2, -(-len(view.nearest) // COLUMNS))
    drawing = Figure(figsize=(12, 1.95 * lines + 0.1), layout="constrained")
    left, right = drawing.subfigures(1, 2, squeeze=False, width_ratios=[1.1 * min(lines, 2), COLUMNS])[0]
    _draw(left.subplots(), pictures, view.query, 0, view.classes, "asked about")
    axes = right.subplots(lines, COLUMNS).ravel()
    for axis in axes[len(view.nearest) :]:
        axis.set_visible(False)
    for i, axis in enumerate(axes[: len(view.nearest)]):
        _draw(axis, pictures, view.nearest, i, view.classes, f"{view.similarities[i]:.3f}")
    return drawing


def _draw(
    axis: "Axes",
    pictures: Mapping[str, NDArray[np.uint8]],
    regions: DescribedRegions,
    i: int,
    classes: tuple[str, ...],
    title: str,
) -> None:
    draw_crop(axis, pictures[regions.files[i]], regions.boxes[i], colour_of(int(regions.labels[i])))
    axis.set_title(f"{title}  {lettering(regions.class_name(i, classes))}", fontsize=9, color=INK, pad=4)
    name = regions.name(i)
    axis.set_xlabel(name, fontsize=min(7.5, 150 / len(name)), color=QUIET, labelpad=3, parse_math=False)


def _table(view: Neighbours) -> str:
    if not len(view.nearest):
        return "There is no other region."
    rows: list[tuple[str, ...]] = [(" cosine", "region", "class", "overlap", "box")]
    for i, (similarity, overlap) in enumerate(zip(view.similarities, view.nearest.overlaps, strict=True)):
        name, kind = view.nearest.name(i), view.nearest.class_name(i, view.classes)
        rows.append((f"{similarity:7.4f}", name, kind, f"{overlap:.2f}", box_text(view.nearest.boxes[i])))
    return table(rows, "><<><")
