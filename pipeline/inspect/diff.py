"""``boxline inspect diff``: how two caches of the same rows differ by value, and which SVM decisions that turns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from operator import add, itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import numpy as np
import typer
from numpy.typing import NDArray

from pipeline.core import runtime
from pipeline.core.errors import InputError
from pipeline.inspect.drawing import BLUE, ORANGE, Rendering, Section, lettering
from pipeline.inspect.options import HtmlOption, PngOption, SplitName, SplitOption, show
from pipeline.inspect.paths import load_index, named_cache, open_cache
from pipeline.inspect.rows import CachedRows, as_float32

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pipeline.features.cache import FeatureCache
    from pipeline.linear.model import LinearModel

T = TypeVar("T")

# Several float32 copies of a block are held by each thread.
BLOCK_MB = 4
SIMILARITY_ROWS = 2048
# Relative differences of rows are counted by their power of ten, four bins each, from 1e-8 up to 10.
RELATIVE_EDGES = np.logspace(-8, 1, 37)
# Attributes that differ between any two runs, and explain nothing.
_MARKS = ("fingerprint", "weights")


def diff(
    first: Annotated[
        str, typer.Argument(metavar="A", help="A system, such as rcnn, or a path; with :LAYER, one layer of it.")
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="Likewise.")],
    split: SplitOption = SplitName.TEST,
    svm: Annotated[
        Path | None, typer.Option("--svm", metavar="FILE", help="SVMs to ask; those of A's system, where trained.")
    ] = None,
    png: PngOption = None,
    html: HtmlOption = None,
) -> None:
    """How two caches of the same rows differ, by how much, and which SVM decisions that turns."""
    from pipeline.linear.model import LinearModel

    (path_a, layer_a), (path_b, layer_b) = named_cache(first, split), named_cache(second, split)
    cache_a, cache_b = open_cache(path_a), open_cache(path_b)
    pairs = pairs_of_layers(cache_a, layer_a, cache_b, layer_b, runtime.worker_count(0))
    if len(pairs) == 1 and pairs[0][0].width != pairs[0][1].width:
        show(render_similarity(similarity(*pairs[0])), png, html)
        return
    system = cache_a.attributes["system"]
    file = svm or Path(f"models/{system}/svm.safetensors")
    judges = LinearModel.load(file, f"systems/{system}/dvc.yaml:svm") if svm or file.is_file() else None
    differences = []
    for a, b in pairs:
        asked = judges is not None and a.of_regions and a.layer == judges.layer
        differences.append(difference(a, b, judges if asked else None))
    index = Path(f"data/index/{split}.json")
    show(render(differences, load_index(split).classes if index.is_file() else ()), png, html)


def pairs_of_layers(
    a: "FeatureCache", layer_a: str | None, b: "FeatureCache", layer_b: str | None, workers: int = 1
) -> list[tuple[CachedRows, CachedRows]]:
    """Return the layers to compare: those named, one named for both, or all that both caches hold.

    Raises:
        InputError: a named layer is not cached, or the caches share none.
    """
    if layer_a or layer_b:
        names = [(layer_a or layer_b, layer_b or layer_a)]
    else:
        names = [(layer, layer) for layer in a.layers() if layer in b.layers()]
    if not names:
        raise InputError(
            f"{a.path} holds {', '.join(a.layers())} and {b.path} {', '.join(b.layers())}: no layer is in both; "
            f"{a.path}:{a.layers()[0]} and {b.path}:{b.layers()[0]} would name one of each."
        )
    return [(CachedRows(a, first, workers), CachedRows(b, second, workers)) for first, second in names]


# --- differences of values -------------------------------------------------------------------------------------------


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

    def __add__(self, other: "Flips") -> "Flips":
        return _added(self, other, labels=self.labels, greatest=max(self.greatest, other.greatest))


@dataclass(frozen=True)
class Part:
    """The differences of a stretch of rows; those of two stretches add up.

    Attributes:
        equal: values that are equal; NaN equals NaN.
        not_finite: values that are not finite in one or both; the figures below take them for equal.
        greatest: largest absolute difference, with its row and unit.
        by_unit: ``(units,)`` float64, sums of absolute differences.
        norms: ``(2,)`` float64, sums of the norms of A's and of B's rows.
        relative: sum of ``|a - b| / |a|`` over A's rows that are not 0.
        relative_rows: number of these.
        relative_counts: ``(36,)`` int64, those above 0 between `RELATIVE_EDGES`; those outside are counted in the
            first or the last.
        equal_rows: rows without any difference.
        flips: decisions, where there is an SVM.
    """

    equal: int
    not_finite: int
    greatest: tuple[float, int, int]
    by_unit: NDArray[np.float64]
    norms: NDArray[np.float64]
    relative: float
    relative_rows: int
    relative_counts: NDArray[np.int64]
    equal_rows: int
    flips: Flips | None

    def __add__(self, other: "Part") -> "Part":
        flips = self.flips + other.flips if self.flips is not None and other.flips is not None else None
        return _added(self, other, greatest=max(self.greatest, other.greatest, key=itemgetter(0)), flips=flips)


def _added(a: T, b: T, **given: Any) -> T:
    """Return a dataclass like ``a`` and ``b`` whose fields are their sums, except those that are ``given``."""
    names = [field.name for field in fields(cast(Any, a)) if field.name not in given]
    return cast(Any, type(a))(**{name: getattr(a, name) + getattr(b, name) for name in names}, **given)


@dataclass(frozen=True)
class Difference:
    """How layer B differs from layer A.

    Attributes:
        names: of A and B.
        dtypes: of both.
        row_name: ``region`` or ``cell``.
        shape: rows and units, of both.
        attributes: name, A's and B's value of the settings that differ.
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


def difference(a: CachedRows, b: CachedRows, svm: "LinearModel | None" = None) -> Difference:
    """Read both layers once, block by block, and return how they differ.

    Args:
        a: the one.
        b: the other, as wide and of the same rows.
        svm: whose decisions to compare; None compares none.

    Raises:
        InputError: the rows are not the same or there are none, or the widths differ, or do not fit ``svm``; the
            sentence says what differs.
    """
    check_same_rows(a, b)
    if a.width != b.width:
        raise InputError(f"{a} has {a.width} units and {b} {b.width}: no value has a counterpart.")
    if svm is not None and svm.weights.shape[1] != a.width:
        raise InputError(f"the SVMs weigh {svm.weights.shape[1]} units, but {a} has {a.width}.")
    truth = a.is_ground_truth

    def compare_block(start: int, block: NDArray) -> Part:
        stop = start + len(block)
        return compare(start, as_float32(block), as_float32(b.array[start:stop]), svm, ~truth[start:stop])

    return Difference(
        names=(str(a), str(b)),
        dtypes=(str(a.array.dtype), str(b.array.dtype)),
        row_name=a.row_name,
        shape=(len(a), a.width),
        attributes=changed_attributes(a, b),
        total=reduce(add, (part for _, part in a.map(compare_block, BLOCK_MB))),
    )


def compare(
    start: int, a: NDArray[np.float32], b: NDArray[np.float32], svm: "LinearModel | None", judged: NDArray[np.bool_]
) -> Part:
    """Return the differences of ``a`` and ``b`` ``(N, units)``, the rows from ``start`` on; N is 1 or more.

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
        greatest=(float(gap[row, unit]), start + row, unit),
        by_unit=gap.sum(axis=0, dtype=np.float64),
        norms=np.array([norm_a.sum(dtype=np.float64), norm_b.sum(dtype=np.float64)]),
        relative=float(relative.sum()),
        relative_rows=len(relative),
        relative_counts=np.histogram(counted, RELATIVE_EDGES)[0],
        equal_rows=int(np.count_nonzero(equal.all(axis=1))),
        flips=_flips(a[judged], b[judged], svm) if svm is not None else None,
    )


def _flips(a: NDArray[np.float32], b: NDArray[np.float32], svm: "LinearModel") -> Flips:
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


def check_same_rows(a: CachedRows, b: CachedRows) -> None:
    """Check that each row of ``a`` and the same row of ``b`` look at the same pixels, and that there is one.

    Raises:
        InputError: they do not; the sentence says what differs.
    """
    reason = None
    if a.row_name != b.row_name:
        reason = f"the rows are {a.row_name}s in the one and {b.row_name}s in the other"
    elif a.image_ids.tolist() != b.image_ids.tolist():
        reason = f"they are of other images, {len(a.image_ids):,} and {len(b.image_ids):,}"
    elif a.offsets.tolist() != b.offsets.tolist():
        image = int(np.flatnonzero(a.offsets != b.offsets)[0]) - 1
        counts = (int(rows.offsets[image + 1] - rows.offsets[image]) for rows in (a, b))
        reason = "image {} has {:,} rows in the one and {:,} in the other".format(a.image_ids[image], *counts)
    elif len(wrong := np.flatnonzero((a.boxes != b.boxes).any(axis=1))):
        reason = f"the boxes of {len(wrong):,} rows differ, first of row {wrong[0]}"
    elif not len(a):
        reason = "they have no rows"
    if reason is not None:
        settings = "; ".join(f"{key} {x} and {y}" for key, x, y in changed_attributes(a, b) if key not in _MARKS)
        more = f" ({settings})" if settings else ""
        raise InputError(f"{a} and {b} cannot be compared row by row: {reason}{more}.")


def changed_attributes(a: CachedRows, b: CachedRows) -> tuple[tuple[str, Any, Any], ...]:
    """Return name and both values of the attributes that differ, nested ones under dotted names."""
    left, right = _flat(a.cache.attributes), _flat(b.cache.attributes)
    keys = [*left, *(key for key in right if key not in left)]
    return tuple((key, left.get(key), right.get(key)) for key in keys if left.get(key) != right.get(key))


def _flat(attributes: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in attributes.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


# --- similarity of layers of unlike widths ---------------------------------------------------------------------------


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


def similarity(a: CachedRows, b: CachedRows, most: int = SIMILARITY_ROWS) -> Similarity:
    """Return how alike two layers of the same rows are, whatever their widths, on ``most`` rows evenly spaced.

    Raises:
        InputError: the rows are not the same.
    """
    check_same_rows(a, b)
    picked = np.linspace(0, len(a), min(most, len(a)), endpoint=False).astype(np.int64)
    gram_a, gram_b = (_centred_gram(rows.take(picked)) for rows in (a, b))
    scale = float(np.linalg.norm(gram_a) * np.linalg.norm(gram_b))
    cka = float((gram_a * gram_b).sum()) / scale if scale else float("nan")
    return Similarity((str(a), str(b)), (a.width, b.width), len(picked), cka)


def _centred_gram(values: NDArray) -> NDArray[np.float64]:
    wide = values.astype(np.float64)
    wide -= wide.mean(axis=0)
    return wide @ wide.T


# --- text and picture ------------------------------------------------------------------------------------------------


def render(differences: Sequence[Difference], classes: Sequence[str]) -> Rendering:
    """Return the text and the picture of the differences of layers; ``classes`` are names, empty where not known."""
    sections = tuple(
        Section(f"{each.names[0]} against {each.names[1]}", "\n".join(_lines(each, classes))) for each in differences
    )
    return Rendering(sections[0].heading, sections, lambda: figure(differences, classes))


def render_similarity(layers: Similarity) -> Rendering:
    """Return the text and the picture of two layers of unlike widths."""
    text = (
        f"{layers.widths[0]:,} and {layers.widths[1]:,} units: no value has a counterpart.\n"
        f"linear CKA    {layers.cka:.4f} on {layers.rows:,} rows "
        "(1: alike but for a rotation and a scale; 0: unrelated)"
    )
    heading = f"{layers.names[0]} against {layers.names[1]}"
    return Rendering(heading, (Section(heading, text),), lambda: _similarity_figure(layers))


def figure(differences: Sequence[Difference], classes: Sequence[str]) -> "Figure":
    """Return a matplotlib figure, a line a layer: differences of rows, of units, and turned decisions of SVMs."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(13, 3.1 * len(differences)), layout="constrained")
    axes = drawing.subplots(len(differences), 3, squeeze=False)
    for (rows, units, flips), each in zip(axes, differences, strict=True):
        layer = each.names[0].rpartition(":")[2]
        rows.stairs(each.total.relative_counts, RELATIVE_EDGES, fill=True, color=BLUE)
        rows.set(xscale="log", title=f"{layer}: rows", xlabel="|a - b| / |a|", ylabel=f"{each.row_name}s")
        units.plot(np.sort(each.by_unit)[::-1], color=BLUE)
        units.set(
            title=f"{layer}: units", xlabel="units, the most different first", ylabel="mean |a - b|", ylim=(0, None)
        )
        if each.total.flips is None:
            flips.set_axis_off()
        else:
            _draw_flips(flips, each.total.flips, classes)
    for axis in drawing.axes:
        axis.spines[["top", "right"]].set_visible(False)
    return drawing


def _draw_flips(axis: "Axes", flips: Flips, classes: Sequence[str]) -> None:
    place = np.arange(len(flips.labels))
    axis.bar(place - 0.2, flips.positive_a, 0.4, color=BLUE, label="positive in A")
    axis.bar(place + 0.2, flips.positive_b, 0.4, color=ORANGE, label="positive in B")
    heights = np.maximum(flips.positive_a, flips.positive_b).tolist()
    for x, (height, changed) in enumerate(zip(heights, flips.changed.tolist(), strict=True)):
        axis.text(x, height, f"{changed:,}", ha="center", va="bottom", fontsize=7)
    axis.set_xticks(
        place, [lettering(_class_name(label, classes)) for label in flips.labels.tolist()], rotation=45, ha="right"
    )
    axis.set(title="SVM decisions; number: turned", ylabel="regions")
    axis.legend(frameon=False, fontsize=8)


def _similarity_figure(layers: Similarity) -> "Figure":
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(6, 1.4), layout="constrained")
    axis = drawing.subplots()
    axis.barh([0], [layers.cka], color=BLUE)
    axis.set(xlim=(0, 1), yticks=[], title=f"linear CKA {layers.cka:.3f}")
    return drawing


def _lines(layers: Difference, classes: Sequence[str]) -> list[str]:
    total, (rows, units) = layers.total, layers.shape
    greatest, row, unit = total.greatest
    differing = [f"{'made with':14}{key}: {str(a)[:24]} | {str(b)[:24]}" for key, a, b in layers.attributes]
    lines = [
        *(differing or [f"{'made with':14}the same settings and weights"]),
        f"{'values':14}{rows:,} {layers.row_name}s x {units:,}, {layers.dtypes[0]} | {layers.dtypes[1]}",
        f"{'equal':14}{100 * layers.equal:.3f} % of the values, {total.equal_rows:,} whole rows",
        f"{'|a - b|':14}{layers.by_unit.mean():.4g} on average, {greatest:.4g} at most (row {row:,}, unit {unit:,})",
        f"{'|a - b| / |a|':14}{layers.relative:.4g} on average, rows as vectors",
        f"{'norms':14}{layers.norms[0]:.5g} | {layers.norms[1]:.5g} on average",
    ]
    if total.not_finite:
        lines.append(f"{'not finite':14}{total.not_finite:,} values in one or both; left out of the differences")
    if total.flips is not None:
        lines += _flip_lines(total.flips, classes)
    return lines


def _flip_lines(flips: Flips, classes: Sequence[str]) -> list[str]:
    lines = [
        f"{'SVMs':14}{int(flips.changed.sum()):,} of {flips.rows * len(flips.labels):,} decisions turn, "
        f"{flips.best_changed:,} of {flips.rows:,} regions have another best class; "
        f"scores move by {flips.greatest:.4g} at most",
        f"{'':14}{'class':20}{'positive in A':>15}{'in B':>10}{'turned':>10}",
    ]
    columns = zip(flips.labels.tolist(), flips.positive_a, flips.positive_b, flips.changed, strict=True)
    lines += [
        f"{'':14}{_class_name(label, classes)[:19]:20}{a:>15,}{b:>10,}{turned:>10,}" for label, a, b, turned in columns
    ]
    return lines


def _class_name(label: int, classes: Sequence[str]) -> str:
    return classes[label - 1] if label <= len(classes) else f"class {label}"
