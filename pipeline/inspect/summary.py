"""``boxline inspect summary``: origin, bytes, zeros, norms, dead units and broken values of caches, from one pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from pipeline.core import runtime
from pipeline.core.boxes import best_match
from pipeline.inspect.drawing import BLUE, Rendering, Section
from pipeline.inspect.options import (
    DEFAULT_SYSTEM,
    HtmlOption,
    PngOption,
    SplitName,
    SplitOption,
    known_system,
    show,
    systems_with_caches,
)
from pipeline.inspect.paths import cache_path, caches_of_split, open_cache, shards
from pipeline.inspect.rows import CachedRows, float32_stretches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pipeline.features.cache import FeatureCache

NORM_BINS = 40
OVERLAP_STEPS = 10
# Rows with values that are not finite that are named.
LISTED_ROWS = 10
_BARS = " ▁▂▃▄▅▆▇█"


def summary(
    system: Annotated[
        str | None,
        typer.Argument(
            metavar="[SYSTEM]",
            help="Whose cache, such as rcnn; without one, those of all systems.",
            callback=known_system,
            autocompletion=systems_with_caches,
        ),
    ] = None,
    split: SplitOption = SplitName.TEST,
    png: PngOption = None,
    html: HtmlOption = None,
) -> None:
    """Size, origin and content of a cache: bytes, zeros, norms, dead units, values that are not finite."""
    paths = [cache_path(system, split)] if system else caches_of_split(split) or [cache_path(DEFAULT_SYSTEM, split)]
    workers = runtime.worker_count(0)
    show(render([summarise(open_cache(path), workers) for path in paths]), png, html)


@dataclass(frozen=True)
class LayerSummary:
    """The content of one layer.

    Attributes:
        layer: its name.
        shape: rows and units.
        dtype: of the values.
        chunk_rows: rows decoded together.
        shard_rows: rows of one file.
        shards_stored: files that exist.
        shards_expected: files that should exist; an absent one reads as zeros.
        raw_bytes: before compression.
        stored_bytes: on disk.
        zeros: share of the values.
        greatest: largest absolute value that is finite.
        mean_norm: mean Euclidean length of the rows without values that are not finite; NaN where there is none.
        norm_edges: ``(NORM_BINS + 1,)`` float64, from 0 to the greatest norm.
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
    shards_stored: int
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
    """The content of a cache.

    Attributes:
        path: of the cache.
        attributes: the settings that it was made with.
        row_name: ``region`` or ``cell``.
        images: number of images.
        rows_per_image: least, median and greatest number.
        ground_truth: number of rows that are objects; None for maps.
        overlap: ``(10,)`` int64, the other rows by their best overlap (IoU) with an object of their image: 0 to 0.1,
            and so on; an overlap of 0.5 counts in 0.5 to 0.6. None for maps.
        layers: the figures of each layer.
    """

    path: Path
    attributes: Mapping[str, Any]
    row_name: str
    images: int
    rows_per_image: tuple[int, int, int]
    ground_truth: int | None
    overlap: NDArray[np.int64] | None
    layers: tuple[LayerSummary, ...]


def summarise(cache: "FeatureCache", workers: int = 1) -> Summary:
    """Read every layer of ``cache`` once, with ``workers`` threads, and return its content.

    Memory holds a few blocks, the boxes and one norm for each row; the numbers do not depend on ``workers``.

    Raises:
        InputError: offsets and rows disagree.
    """
    layers = [CachedRows(cache, name, workers) for name in cache.layers()]
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
        layers=tuple(summarise_layer(layer) for layer in layers),
    )


def summarise_layer(rows: CachedRows) -> LayerSummary:
    """Read one layer once and return its content."""
    greatest, nonzero = np.zeros(rows.width, np.float32), 0
    not_finite = np.zeros(rows.width, np.int64)
    norms = np.zeros(len(rows), np.float32)
    for start, block in rows.map(lambda _, values: _scan(values)):
        greatest = np.maximum(greatest, block.greatest)
        nonzero += block.nonzero
        not_finite += block.not_finite
        norms[start : start + len(block.norms)] = block.norms
    lengths = norms[np.isfinite(norms)]
    counts, edges = np.histogram(lengths, NORM_BINS, (0, float(lengths.max(initial=0)) or 1.0))
    stored, expected = shards(rows.array)
    broken = np.flatnonzero(not_finite)
    return LayerSummary(
        layer=rows.layer,
        shape=(len(rows), rows.width),
        dtype=str(rows.array.dtype),
        chunk_rows=rows.array.chunks[0],
        shard_rows=(rows.array.shards or rows.array.chunks)[0],
        shards_stored=stored,
        shards_expected=expected,
        raw_bytes=rows.array.nbytes,
        stored_bytes=rows.array.nbytes_stored(),
        zeros=1 - nonzero / max(1, len(rows) * rows.width),
        greatest=float(greatest.max(initial=0)),
        mean_norm=float(lengths.mean(dtype=np.float64)) if len(lengths) else float("nan"),
        norm_edges=edges,
        norm_counts=counts,
        dead=np.flatnonzero((greatest == 0) & (not_finite == 0)) if len(rows) else np.zeros(0, np.int64),
        not_finite=np.stack([broken, not_finite[broken]], axis=1),
        rows_not_finite=np.flatnonzero(np.isnan(norms))[:LISTED_ROWS],
    )


def count_by_overlap(rows: CachedRows) -> NDArray[np.int64]:
    """Count the rows that are no objects by their best overlap with an object of their image, ``(10,)`` int64."""
    counts = np.zeros(OVERLAP_STEPS, np.int64)
    boxes, truth = rows.boxes, rows.is_ground_truth
    for start, stop in zip(rows.offsets[:-1], rows.offsets[1:], strict=True):
        here, objects = boxes[start:stop], truth[start:stop]
        _, overlap = best_match(here[~objects], here[objects])
        step = np.minimum((overlap * np.float32(OVERLAP_STEPS)).astype(np.int64), OVERLAP_STEPS - 1)
        counts += np.bincount(step, minlength=OVERLAP_STEPS)
    return counts


@dataclass(frozen=True)
class _Scan:
    """One block: the greatest finite magnitude and the values that are not finite of each unit, the norm of each row.

    The norm of a row with a value that is not finite is NaN.
    """

    greatest: NDArray[np.float32]
    nonzero: int
    not_finite: NDArray[np.int64]
    norms: NDArray[np.float32]


def _scan(block: NDArray) -> _Scan:
    greatest, nonzero = np.zeros(block.shape[1], np.float32), 0
    not_finite = np.zeros(block.shape[1], np.int64)
    norms = []
    for values in float32_stretches(block):
        nonzero += int(np.count_nonzero(values))
        norms.append(np.sqrt(np.einsum("ij,ij->i", values, values)))
        size = np.abs(values)
        top = size.max(axis=0, initial=0)
        if not np.isfinite(top).all():
            broken = ~np.isfinite(size)
            not_finite += broken.sum(axis=0)
            norms[-1][broken.any(axis=1)] = np.nan
            top = np.where(broken, 0, size).max(axis=0, initial=0)
        greatest = np.maximum(greatest, top)
    return _Scan(greatest, nonzero, not_finite, np.concatenate(norms))


# --- text and picture ------------------------------------------------------------------------------------------------


def render(summaries: Sequence[Summary]) -> Rendering:
    """Return the text and the picture of one cache or several."""
    sections = []
    for each in summaries:
        sections.append(Section(str(each.path), "\n".join(_cache_lines(each))))
        sections += [Section("", "\n".join(_layer_lines(layer))) for layer in each.layers]
    title = "Summary of " + " and ".join(str(each.path) for each in summaries)
    return Rendering(title, tuple(sections), lambda: figure(summaries))


def figure(summaries: Sequence[Summary]) -> "Figure":
    """Return a matplotlib figure: the norms of each layer, and how rows overlap with objects."""
    from matplotlib.figure import Figure

    layers = [(each, layer) for each in summaries for layer in each.layers]
    panels = len(layers) + sum(each.overlap is not None for each in summaries)
    drawing = Figure(figsize=(4.2 * panels, 3), layout="constrained")
    axes = iter(np.atleast_1d(drawing.subplots(1, panels)))
    for each, layer in layers:
        axis = next(axes)
        axis.stairs(layer.norm_counts, layer.norm_edges, fill=True, color=BLUE)
        system = each.attributes.get("system", "")
        axis.set(title=f"{system} {layer.layer}", xlabel=f"norm of a {each.row_name}", ylabel=f"{each.row_name}s")
    for each in summaries:
        if each.overlap is not None:
            axis = next(axes)
            axis.stairs(each.overlap, np.linspace(0, 1, len(each.overlap) + 1), fill=True, color=BLUE)
            axis.set(title="proposals", xlabel="best overlap with an object", ylabel="regions, log scale")
            axis.set_yscale("symlog", linthresh=1)
            axis.set_ylim(bottom=0)
    for axis in drawing.axes:
        axis.spines[["top", "right"]].set_visible(False)
    return drawing


def _cache_lines(cache: Summary) -> list[str]:
    known = cache.attributes
    least, median, most = cache.rows_per_image
    names = ("system", "network", "descriptor", "weights", "fingerprint", "region", "scales", "stride")
    lines = [f"{name:14}{_short(known[name])}" for name in names if name in known]
    rows = cache.layers[0].shape[0]
    lines.append(
        f"{'rows':14}{rows:,} {cache.row_name}s of {cache.images:,} images ({least} to {most}, median {median})"
    )
    if cache.overlap is not None:
        steps = "".join(f"{i / len(cache.overlap):>9.1f}+" for i in range(len(cache.overlap)))
        counts = "".join(f"{count:>10,}" for count in cache.overlap.tolist())
        lines.append(f"{'objects':14}{cache.ground_truth:,} rows are ground truth")
        lines += [f"{'overlap':12}{steps}", f"{'regions':12}{counts}"]
    return lines


def _layer_lines(layer: LayerSummary) -> list[str]:
    rows, units = layer.shape
    lines = [
        f"{'layer':14}{layer.layer}: {rows:,} x {units:,} {layer.dtype}",
        f"{'stored':14}{layer.stored_bytes / 1e6:,.1f} MB of {layer.raw_bytes / 1e6:,.1f} MB raw, "
        f"{layer.ratio:.2f} times smaller; chunks of {layer.chunk_rows:,} rows, shards of {layer.shard_rows:,}",
        f"{'zeros':14}{100 * layer.zeros:.1f} %",
        f"{'norm':14}{layer.mean_norm:.4g} on average, greatest value {layer.greatest:.4g}",
        f"{'norms':14}{_spark(layer.norm_counts)}  0 to {layer.norm_edges[-1]:.4g}",
        f"{'dead units':14}{_listed(layer.dead.tolist(), units)}",
        f"{'not finite':14}{_not_finite(layer)}",
    ]
    if layer.shards_stored < layer.shards_expected:
        lines.append(
            f"{'WARNING':14}{layer.shards_expected - layer.shards_stored} of {layer.shards_expected} shard files are "
            "absent and read as zeros: lost, or all of their values are 0"
        )
    return lines


def _not_finite(layer: LayerSummary) -> str:
    if not len(layer.not_finite):
        return "none"
    units, counts = layer.not_finite.T.tolist()
    rows = ", ".join(map(str, layer.rows_not_finite.tolist()))
    return f"{sum(counts):,} values, in units {_listed(units, layer.shape[1])}; first rows {rows}"


def _listed(units: list[int], of: int) -> str:
    if not units:
        return f"none of {of:,}"
    shown = ", ".join(map(str, units[:8])) + (", ..." if len(units) > 8 else "")
    return f"{len(units):,} of {of:,} ({shown})"


def _short(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)[:16]


def _spark(counts: NDArray[np.int64]) -> str:
    """Return the counts as blocks of eight heights; what is not empty shows."""
    top = max(1, int(counts.max(initial=0)))
    return "".join(_BARS[-(-int(count) * (len(_BARS) - 1) // top)] for count in counts)
