"""``boxline inspect embedding``: region features in the plane, where classes can be seen to fall together or apart."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from pipeline.core import runtime
from pipeline.core.errors import InputError
from pipeline.data.index import Index
from pipeline.inspect.drawing import INK, Rendering, Section, bare, colour_of, lettering, table
from pipeline.inspect.options import (
    DEFAULT_SYSTEM,
    HtmlOption,
    PngOption,
    RegionLayerOption,
    SplitName,
    SplitOption,
    SystemOption,
    show,
)
from pipeline.inspect.paths import load_index
from pipeline.inspect.regions import IGNORED, DescribedRegions, describe, row_labels
from pipeline.inspect.rows import RegionRows, as_float32, region_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# t-SNE starts from so many principal components, as its authors advise.
COMPONENTS = 50
PERPLEXITY = 30


class Method(StrEnum):
    """How features become points."""

    PCA = "pca"
    TSNE = "tsne"

    @property
    def title(self) -> str:  # type: ignore[override]
        """Return the name in print."""
        return {"pca": "PCA", "tsne": "t-SNE"}[self.value]


def embedding(
    system: SystemOption = DEFAULT_SYSTEM,
    split: SplitOption = SplitName.TEST,
    layer: RegionLayerOption = None,
    sample: Annotated[
        int, typer.Option("--sample", min=2, help="How many regions, shared out evenly by class.")
    ] = 1500,
    method: Annotated[Method, typer.Option("--method", help="tsne (after PCA), or pca alone.")] = Method.TSNE,
    seed: Annotated[int, typer.Option("--seed", help="Another sample and another layout.")] = 0,
    png: PngOption = None,
    html: HtmlOption = None,
) -> None:
    """A sample of regions in the plane, by their features, in the colours of their classes."""
    index = load_index(split)
    view = embed(region_rows(system, split, index, layer), index, sample, method, seed)
    show(render(view, f"{system}, {split}"), png, html)


@dataclass(frozen=True)
class Embedding:
    """A sample of regions and their places in the plane.

    Attributes:
        layer: whose features were embedded.
        method: how.
        classes: of the dataset.
        regions: the sample, in the order of the cache.
        points: ``(len(regions), 2)`` float32.
        totals: ``(classes + 1,)`` int64, regions of the whole split by class, the background first, without ignored
            ones.
        explained: share of the variance that the two axes of ``pca`` hold, and for ``tsne`` the components before it.
    """

    layer: str
    method: Method
    classes: tuple[str, ...]
    regions: DescribedRegions
    points: NDArray[np.float32]
    totals: NDArray[np.int64]
    explained: float


def embed(rows: RegionRows, index: Index, count: int, method: Method = Method.TSNE, seed: int = 0) -> Embedding:
    """Return ``count`` regions of a split in the plane; the same ones for one seed.

    Regions on objects to ignore are left out.

    Raises:
        InputError: there are fewer than two regions, features that are not finite, or the index is of other images.
    """
    labels = row_labels(rows, index)
    usable = np.flatnonzero(labels != IGNORED)
    chosen = usable[sample_by_class(labels[usable], count, seed)]
    if len(chosen) < 2:
        raise InputError(f"{rows.path}: {len(chosen)} regions make no picture; two or more would.")
    values = as_float32(rows.take(chosen))
    if not np.isfinite(values).all():
        raise InputError(
            f"{rows.path}: {rows.layer} has values that are not finite; `boxline inspect summary` says in which units."
        )
    points, explained = points_in_plane(values, method, seed)
    totals = np.bincount(labels[usable], minlength=len(index.classes) + 1)
    regions = describe(rows.offsets, rows.boxes, index, chosen)
    return Embedding(rows.layer, method, index.classes, regions, points, totals, explained)


def sample_by_class(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Return ``count`` positions of ``labels``, rising, or all where there are fewer.

    Every label gets an equal share; the others share the rest of a rare one's. Within a label each position is equally
    likely, whatever the other labels are.
    """
    present, sizes = np.unique(labels, return_counts=True)
    parts = [np.zeros(0, np.int64)]
    left = min(count, len(labels))
    for place in np.argsort(
        sizes, kind="stable"
    ).tolist():  # the rarest first: the rest of its share goes to the others
        share = min(int(sizes[place]), left // (len(present) - len(parts) + 1))
        rng = runtime.item_rng(seed, "inspect project", int(present[place]))  # another text draws another sample
        parts.append(rng.choice(np.flatnonzero(labels == present[place]), share, replace=False))
        left -= share
    return np.sort(np.concatenate(parts))


def points_in_plane(values: NDArray[np.float32], method: Method, seed: int) -> tuple[NDArray[np.float32], float]:
    """Return a point for each row of ``values`` (N, width), ``(N, 2)`` float32, and the variance that PCA kept.

    ``pca``: the first two principal components. ``tsne``: t-SNE of the first `COMPONENTS`. One thread, so that the
    number of cores changes no point.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    components = min(2 if method is Method.PCA else COMPONENTS, *values.shape)
    with threadpool_limits(1):
        pca = PCA(components, random_state=seed).fit(values)
        points = pca.transform(values)
        if method is Method.TSNE and len(values) > 3 and points.shape[1] > 1:
            perplexity = min(PERPLEXITY, (len(values) - 1) / 3)
            points = TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(points)
    flat = np.zeros((len(values), 2), np.float32)
    flat[:, : points.shape[1]] = points[:, :2]
    return flat, float(pca.explained_variance_ratio_.sum())


# --- text and picture ------------------------------------------------------------------------------------------------


def render(view: Embedding, name: str) -> Rendering:
    """Return the text and the picture of an embedding; ``name`` says whose regions these are."""
    title = f"{view.method.title} of {len(view.regions):,} regions, {view.layer} of {name}"
    return Rendering(title, (Section(title, _text(view)),), lambda: figure(view))


def figure(view: Embedding) -> "Figure":
    """Return a matplotlib figure: a point a region in the colour of its class, background small and grey below."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(8.6, 6.4), layout="constrained")
    axis = drawing.subplots()
    for label in range(len(view.classes) + 1):
        points = view.points[view.regions.labels == label]
        if len(points):
            size, name = (26, lettering(view.classes[label - 1])) if label else (9, "background")
            style = {"linewidth": 0.4, "edgecolor": "white"} if label else {"linewidth": 0, "alpha": 0.6}
            axis.scatter(
                points[:, 0], points[:, 1], s=size, color=colour_of(label), label=f"{name} ({len(points):,})", **style
            )
            if label and view.method is Method.TSNE:  # components alone leave most classes on one heap
                _name_cluster(axis, points, name)
    axis.set_aspect("equal", "datalim")
    bare(axis)
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=10, labelcolor=INK, markerscale=1.6)
    axis.set_title(
        f"{view.method.title} of {view.layer}: regions by the object that they overlap by half or more",
        fontsize=11, color=INK, loc="left",
    )  # fmt: skip
    return drawing


def _name_cluster(axis: "Axes", points: NDArray[np.float32], name: str) -> None:
    """Write the name of a class in the middle of its points."""
    from matplotlib.patheffects import withStroke

    x, y = np.median(points, axis=0)
    halo = [withStroke(linewidth=3, foreground="white")]
    axis.text(
        x, y, name, fontsize=10, color=INK, ha="center", va="center", path_effects=halo, zorder=5, in_layout=False
    )


def _text(view: Embedding) -> str:
    part = "the two axes hold" if view.method is Method.PCA else "the principal components before it hold"
    rows = [("class", "sampled", "of", "centre")]
    for label, total in enumerate(view.totals.tolist()):
        points = view.points[view.regions.labels == label]
        name = view.classes[label - 1] if label else "background"
        centre = " ".join(f"{place:.1f}" for place in np.median(points, axis=0)) if len(points) else "-"
        rows.append((name, f"{len(points):,}", f"{total:,}", centre))
    return f"{part} {100 * view.explained:.1f} % of the variance\n\n{table(rows, '<>><')}"
