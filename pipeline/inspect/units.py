"""``boxline inspect units``: the regions that excite a unit most, where it looks, and the classes that it separates.

The regions are chosen as in R-CNN, section 3.1: "We compute the unit's activations on a large set of held-out region
proposals, sort the proposals from highest to lowest activation, perform non-maximum suppression, and then display the
top-scoring regions." A unit of a map is a channel, and the receptive fields of the cells take the place of proposals.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from pipeline.core import runtime
from pipeline.core.boxes import Boxes, nms
from pipeline.core.errors import InputError
from pipeline.data.index import Index
from pipeline.inspect.drawing import Rendering, Section, draw_box, lettering, table
from pipeline.inspect.options import (
    DEFAULT_SYSTEM,
    HtmlOption,
    LayerOption,
    PngOption,
    SplitName,
    SplitOption,
    known_system,
    numbers,
    show,
)
from pipeline.inspect.paths import cache_path, caches_features, image_root, load_index, open_cache
from pipeline.inspect.regions import IGNORED, crop_settings, crops, row_labels
from pipeline.inspect.rows import CachedRows, as_float32

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The sample on which units are ranked: at most so many rows, and so many megabytes.
SAMPLE_ROWS = 16384
SAMPLE_MB = 256
# Units ranked at a time.
_AT_ONCE = 64
RANKED_PER_CLASS = 3
# Of the side of a cell's square, its receptive field; around it lies what surrounds that.
FIELD_SHARE = 0.75
# Side of a crop in the picture, in inches; 64 units of 12 regions stay below a megabyte.
_INCH = 0.72
_LABEL_INCHES = 1.4


def units(
    system: Annotated[
        str,
        typer.Option(
            "--system",
            help="Whose units: {systems}. R-CNN's regions and SPP-net's maps are cached; the map of another system is "
            "computed for this by its trained network.",
            callback=known_system,
        ),
    ] = DEFAULT_SYSTEM,
    split: SplitOption = SplitName.TEST,
    layer: LayerOption = None,
    which: Annotated[
        str | None, typer.Option("--units", metavar="3,17,40-47", help="These units; else the best for each class.")
    ] = None,
    per_class: Annotated[int, typer.Option("--per-class", min=1, help="So many units for each class.")] = 1,
    count: Annotated[int, typer.Option("--count", min=1, help="Regions shown of a unit.")] = 12,
    nms: Annotated[float, typer.Option("--nms", min=0, max=1, help="Overlap of duplicates in one image.")] = 0.3,
    png: PngOption = None,
    html: HtmlOption = None,
) -> None:
    """The regions of the split that excite each unit most, and the classes that it separates from all else."""
    from pipeline import params, registry
    from pipeline.inspect.network_maps import network_maps

    chosen = numbers(which, "--units")
    with ExitStack() as stack:
        if caches_features(system):
            cache = open_cache(cache_path(system, split))
            index, root = load_index(split), image_root()
        else:
            seen = registry.load(system, Path("models"), "cpu").whole_images
            if seen is None:
                raise InputError(
                    f"{system} has no units: it caches no features, and no network of it sees whole images."
                )
            index, root = load_index(split), image_root()
            device = runtime.device(params.load().runtime.device)
            cache = stack.enter_context(network_maps(system, seen, split, index, root, device))
        rows = CachedRows(cache, layer, runtime.worker_count(0))
        view = look_at_units(rows, index, root, chosen, per_class=per_class, count=count, threshold=nms)
    show(render(view), png, html)


@dataclass(frozen=True)
class UnitsView:
    """Units, the regions that excite them, and how well each unit alone separates the classes.

    Attributes:
        name: of system, layer and split.
        row_name: ``region`` or ``cell``.
        top: the regions.
        squares: ``(U, K, size, size, 3)`` uint8, their pictures: regions as the network saw them, receptive fields with
            a little more; white where a place is empty.
        grid: where units of conv5 and pool5 look; None for other layers.
        separation: of all units of the layer.
        best: for each of U, the class that it was chosen for, or else separates best, with its area; None where no
            class can be judged.
    """

    name: str
    row_name: str
    top: "TopRegions"
    squares: NDArray[np.uint8]
    grid: "UnitGrid | None"
    separation: "Separation"
    best: tuple[tuple[str, float] | None, ...]

    def frame(self, k: int) -> NDArray | None:
        """Return the part of its squares that the unit at ``k`` sees, ``x1 y1 x2 y2``; None: it sees all of them."""
        if self.row_name == "cell":
            margin = (1 - FIELD_SHARE) / 2
            return np.array([margin, margin, 1 - margin, 1 - margin]) * self.squares.shape[2]
        return self.grid.field(int(self.top.units[k])) if self.grid is not None else None


def look_at_units(
    rows: CachedRows,
    index: Index,
    root: Path,
    units: Sequence[int] | None = None,
    *,
    per_class: int = 1,
    count: int = 12,
    threshold: float = 0.3,
) -> UnitsView:
    """Rank all units of a layer by how well they separate the classes, and show the regions that excite some of them.

    Args:
        rows: of the layer.
        index: of the same split.
        root: folder that the index's file names are relative to.
        units: to show; None shows the ``per_class`` units that separate each class best.
        per_class: see ``units``.
        count: regions of a unit.
        threshold: overlap above which a region is a duplicate of a better one in the same image.

    Raises:
        InputError: a unit does not exist, an image cannot be read, or the index is of other images.
    """
    ranked = separation(rows, index)
    best: tuple[tuple[str, float] | None, ...]
    if units is None:
        chosen = ranked.best_of_each(per_class)
        units, best = list(chosen), tuple(ranked.of(unit, label) for unit, label in chosen.items())
    else:
        best = tuple(ranked.best_class(unit) if 0 <= unit < rows.width else None for unit in units)
    top = top_regions(rows, units, count, threshold)
    region = crop_settings(rows)
    squares = np.full((len(units), count, region.size, region.size, 3), 255, np.uint8)
    shown = top.boxes[top.filled] if rows.of_regions else _with_surroundings(top.boxes[top.filled])
    squares[top.filled] = crops(top.image_ids[top.filled], shown, region, index, root)
    attributes = rows.cache.attributes
    grid = unit_grid(attributes["network"], region.size, rows.layer, rows.width) if rows.of_regions else None
    name = f"{attributes['system']} {rows.layer}, {rows.path.stem}"
    return UnitsView(name, rows.row_name, top, squares, grid, ranked, best)


def _with_surroundings(fields: Boxes) -> Boxes:
    """Return boxes (N, 4) of which ``fields`` are the middle, as large a part as `FIELD_SHARE` says."""
    centre, half = (fields[:, :2] + fields[:, 2:]) / 2, (fields[:, 2:] - fields[:, :2]) / 2 / FIELD_SHARE
    return np.concatenate([centre - half, centre + half], axis=1)


# --- the regions that excite a unit most -----------------------------------------------------------------------------


@dataclass(frozen=True)
class TopRegions:
    """The rows that excite each of U units most, K at most, best first.

    Attributes:
        units: ``(U,)`` int64.
        counts: ``(U,)`` int64, how many of the K places are filled.
        values: ``(U, K)`` float32, activations; 0 where a place is empty, as in the next three.
        rows: ``(U, K)`` int64, rows of the cache.
        image_ids: ``(U, K)`` int64.
        boxes: ``(U, K, 4)`` float32, in pixels of the image.
    """

    units: NDArray[np.int64]
    counts: NDArray[np.int64]
    values: NDArray[np.float32]
    rows: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    boxes: Boxes

    @property
    def filled(self) -> NDArray[np.bool_]:
        """Return which places are filled, ``(U, K)``."""
        return np.arange(self.rows.shape[1]) < self.counts[:, None]


def top_regions(rows: CachedRows, units: Sequence[int], count: int, threshold: float) -> TopRegions:
    """Read a layer once and return the ``count`` rows with the highest activation of each of ``units``.

    Rows of one image that overlap a better one by more than ``threshold`` are left out, unit by unit; so are ground
    truth, values of 0 or less and values that are not finite. Of equal values the first row is taken. Memory holds
    a few blocks of rows and ``count`` rows a unit.

    Raises:
        InputError: a unit does not exist.
    """
    wanted = np.asarray(units, np.int64)
    wrong = wanted[(wanted < 0) | (wanted >= rows.width)]
    if len(wrong):
        raise InputError(f"{rows.path}: {rows.layer} has the units 0 to {rows.width - 1}, not {wrong[0]}.")
    boxes, truth = rows.boxes, rows.is_ground_truth
    values, places = np.zeros((len(units), count), np.float32), np.zeros((len(units), count), np.int64)
    counts = np.zeros(len(units), np.int64)
    blocks = rows.map(lambda _, block: as_float32(np.ascontiguousarray(block[:, wanted])))
    for image, activations in rows.by_image(blocks):
        start = int(rows.offsets[image])
        here = slice(start, start + len(activations))
        usable = np.where(np.isfinite(activations) & ~truth[here, None], activations, 0)
        least = np.where(counts == count, values[:, -1], 0)  # another value must exceed it to be taken
        for k in np.flatnonzero(usable.max(axis=0, initial=0) > least):
            # Suppression goes from the best downwards: values below the least that counts change nothing above it.
            hot = np.flatnonzero(usable[:, k] > least[k])
            kept = hot[nms(boxes[here][hot], usable[hot, k], threshold)[:count]]
            merged = np.concatenate([values[k, : counts[k]], usable[kept, k]])
            merged_rows = np.concatenate([places[k, : counts[k]], start + kept])
            order = np.lexsort((merged_rows, -merged))[:count]
            counts[k] = len(order)
            values[k, : len(order)], places[k, : len(order)] = merged[order], merged_rows[order]
    filled = np.arange(count) < counts[:, None]
    image_ids, top_boxes = np.zeros((len(units), count), np.int64), np.zeros((len(units), count, 4), np.float32)
    image_ids[filled] = rows.image_ids[np.searchsorted(rows.offsets, places[filled], side="right") - 1]
    top_boxes[filled] = boxes[places[filled]]
    return TopRegions(wanted, counts, values, places, image_ids, top_boxes)


# --- the pixels that a unit sees ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UnitGrid:
    """Where the units of a layer look.

    Attributes:
        channels: of the layer.
        fields: ``(height, width, 4)`` int64, the receptive field of each cell in pixels of the network's square input:
            ``x1 y1 x2 y2``, half-open.
    """

    channels: int
    fields: NDArray[np.int64]

    def cell(self, unit: int) -> tuple[int, int, int]:
        """Return channel, row and column of a unit."""
        height, width, _ = self.fields.shape
        return unit // (height * width), unit // width % height, unit % width

    def field(self, unit: int) -> NDArray[np.int64]:
        """Return the receptive field of a unit, ``(4,)``."""
        _, y, x = self.cell(unit)
        return self.fields[y, x]


def unit_grid(network: str, side: int, layer: str, units: int) -> UnitGrid | None:
    """Return the grid of ``layer`` of a network that sees squares of ``side`` pixels.

    None for layers whose units all see the whole region (fc6, fc7), and where ``units``, the number that was cached, is
    not that of the network.
    """
    if layer not in ("conv5", "pool5"):
        return None

    import torch
    from torch import nn

    from pipeline.nets.backbones import architecture
    from pipeline.nets.geometry import Geometry

    net = architecture(network)
    with torch.device("meta"):
        conv, pool5 = net.conv(), net.pool5()
    pools = list(pool5) if isinstance(pool5, nn.Sequential) else [pool5]
    adaptive = pools.pop() if isinstance(pools[-1], nn.AdaptiveAvgPool2d) else None
    layers = [conv, *pools] if layer == "pool5" else [conv]
    steps = Geometry.from_layers(nn.Sequential(*layers)).steps
    sides = [side]
    for step in steps:
        sides.append(step.size(sides[-1]))
    low, high = np.arange(sides[-1]), np.arange(sides[-1]) + 1
    if layer == "pool5" and adaptive is not None:  # its cells average several where sizes differ
        bins = np.arange(int(adaptive.output_size))  # type: ignore[arg-type]
        low, high = bins * sides[-1] // len(bins), -(-(bins + 1) * sides[-1] // len(bins))
    # Back through the layers, cut at each one's edges: what a layer drops at its far end is not seen by what follows.
    for step, size in zip(reversed(steps), reversed(sides[:-1]), strict=True):
        low = np.maximum(low * step.stride - step.padding, 0)
        high = np.minimum((high - 1) * step.stride - step.padding + step.kernel, size)
    if net.channels * len(low) ** 2 != units:
        return None
    x1, y1 = np.meshgrid(low, low)
    x2, y2 = np.meshgrid(high, high)
    return UnitGrid(net.channels, np.stack([x1, y1, x2, y2], axis=2))


# --- the classes that a unit separates -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Separation:
    """Areas under the ROC curve of single units.

    Attributes:
        classes: names.
        auc: ``(units, classes)`` float64: the chance that a row of the class excites the unit more than another row
            does, equal values counting half; 0.5 is no separation, below 0.5 the unit is quieter at the class. NaN
            where the sample lacks rows of the class or of any other.
        positives: ``(classes,)`` int64, rows of each class in the sample.
        sampled: rows of the sample.
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


def separation(rows: CachedRows, index: Index, most: int = SAMPLE_ROWS) -> Separation:
    """Return the exact areas on a sample: rows evenly spread over the split, ``most`` or as many as 256 MB hold.

    A layer with fewer rows is used as a whole. Rows at ignored objects are left out (`row_labels`).

    Raises:
        InputError: the index is of other images.
    """
    labels = row_labels(rows, index)
    most = max(2, min(most, SAMPLE_MB * (1 << 20) // (rows.width * rows.array.dtype.itemsize)))
    usable = np.flatnonzero(labels != IGNORED)
    picked = usable[np.linspace(0, len(usable), min(most, len(usable)), endpoint=False).astype(np.int64)]
    sample = rows.take(picked)
    classes = np.arange(1, len(index.classes) + 1)
    positive = labels[picked][None, :] == classes[:, None]
    parts = [areas(as_float32(sample[:, i : i + _AT_ONCE]), positive) for i in range(0, rows.width, _AT_ONCE)]
    return Separation(index.classes, np.concatenate(parts), positive.sum(axis=1), len(picked), len(rows))


def areas(values: NDArray[np.float32], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the area under the ROC curve of each column for each class, ``(units, classes)``.

    Args:
        values: ``(rows, units)``; those that are not finite count as 0.
        positive: ``(classes, rows)``.
    """
    from scipy.stats import rankdata

    ranks = rankdata(np.where(np.isfinite(values), values, 0), axis=0)
    inside = positive.sum(axis=1)
    pairs = inside * (positive.shape[1] - inside)
    # Mann and Whitney: the ranks of the positives, less those that they have among themselves.
    wins = ranks.T @ positive.T.astype(np.float64) - inside * (inside + 1) / 2
    return np.divide(wins, pairs, out=np.full(wins.shape, np.nan), where=pairs > 0)


# --- text and picture ------------------------------------------------------------------------------------------------


def render(view: UnitsView) -> Rendering:
    """Return the text and the picture of units."""
    sections = (
        Section(f"Units of {view.name}", _unit_table(view)),
        Section("Units that separate a class from all else", "\n".join(_class_lines(view))),
    )
    return Rendering(f"Units of {view.name}", sections, lambda: figure(view))


def figure(view: UnitsView) -> "Figure":
    """Return a matplotlib figure: a line for each unit, its regions from left to right.

    Activations are in the corners. The white frame is the receptive field, where a unit does not see all.
    """
    from matplotlib.figure import Figure

    units, count = view.top.rows.shape
    size = (_LABEL_INCHES + count * _INCH, max(1, units) * _INCH)
    drawing = Figure(figsize=size)
    axis = drawing.add_axes((_LABEL_INCHES / size[0], 0, 1 - _LABEL_INCHES / size[0], 1))
    axis.set(xlim=(0, count), ylim=(max(1, units), 0), xticks=[], yticks=[])
    axis.set_axis_off()
    for k in range(units):
        axis.text(-0.08, k + 0.5, _title(view, k), ha="right", va="center", fontsize=8, linespacing=1.4)
        for place in range(int(view.top.counts[k])):
            _draw_square(axis, view, k, place)
    return drawing


def _draw_square(axis: "Axes", view: UnitsView, k: int, place: int) -> None:
    square = view.squares[k, place]
    gap = 0.03
    left, top, inner = place + gap, k + gap, 1 - 2 * gap
    axis.imshow(square, extent=(left, left + inner, top + inner, top), interpolation="bilinear", aspect="auto")
    frame = view.frame(k)
    if frame is not None:
        draw_box(axis, frame / square.shape[0] * inner + np.array([left, top, left, top]), "white", linewidth=1)
    corner = {"facecolor": "black", "alpha": 0.55, "linewidth": 0, "pad": 0.8}
    value = f"{view.top.values[k, place]:.3g}"
    axis.text(left + 0.04, top + 0.04, value, color="white", fontsize=6, ha="left", va="top", bbox=corner)


def _title(view: UnitsView, k: int) -> str:
    unit, best = int(view.top.units[k]), view.best[k]
    lines = [f"unit {unit}"]
    if view.grid is not None:
        channel, y, x = view.grid.cell(unit)
        lines.append(f"channel {channel}, y {y}, x {x}")
    if best is not None:
        lines.append(f"{lettering(best[0])}: AUC {best[1]:.2f}")
    return "\n".join(lines)


def _unit_table(view: UnitsView) -> str:
    rows = [("  unit", "channel, y, x", "class", "AUC", f"strongest {view.row_name}s: value (image id)")]
    for k, unit in enumerate(view.top.units.tolist()):
        cell = "{}, {}, {}".format(*view.grid.cell(unit)) if view.grid is not None else ""
        name, area = view.best[k] or ("", float("nan"))
        shown = min(int(view.top.counts[k]), 5)
        pairs = zip(view.top.values[k, :shown].tolist(), view.top.image_ids[k, :shown].tolist(), strict=True)
        strongest = "  ".join(f"{value:.3g} ({image})" for value, image in pairs) or "never above 0"
        rows.append((f"{unit:6}", cell, name[:20], f"{area:.3f}", strongest))
    return table(rows, "><<><")


def _class_lines(view: UnitsView) -> list[str]:
    ranked, row = view.separation, view.row_name
    rows = []
    for label, name in enumerate(ranked.classes, 1):
        best = ranked.best(label, RANKED_PER_CLASS).tolist()
        listed = "   ".join(f"{unit} ({ranked.auc[unit, label - 1]:.3f})" for unit in best)
        count = ranked.positives[label - 1]
        rows.append((name[:20], f"{count:,} {row}s", listed) if count else (name[:20], f"no {row} of this class", ""))
    return [
        f"Area under the ROC curve of one unit, on {ranked.sampled:,} of {ranked.rows:,} evenly spread {row}s.",
        f"For each class the {RANKED_PER_CLASS} best units:",
        table(rows, "<><"),
    ]
