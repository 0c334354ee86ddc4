"""Region features laid out in the plane, so that classes can be seen to fall together or apart."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.core import runtime
from pipeline.core.errors import InputError
from pipeline.data.index import Index
from pipeline.inspect.describing.described_regions import DescribedRegions, describe
from pipeline.inspect.describing.labels import IGNORED, row_labels
from pipeline.inspect.reading.region_rows import RegionRows

Method = Literal["pca", "tsne"]

# t-SNE starts from so many principal components, as its authors advise.
COMPONENTS = 50
PERPLEXITY = 30


@dataclass(frozen=True)
class Projection:
    """A sample of regions and their places in the plane.

    Attributes:
        layer: whose features were projected.
        method: ``pca`` or ``tsne``.
        classes: of the dataset.
        regions: the sample, in the order of the cache.
        points: ``(len(regions), 2)`` float32.
        of: ``(classes + 1,)`` int64, regions of the whole split by class, the background first, without ignored ones.
        explained: share of the variance that the two axes of ``pca`` hold, and for ``tsne`` the components before it.
    """

    layer: str
    method: Method
    classes: tuple[str, ...]
    regions: DescribedRegions
    points: NDArray[np.float32]
    of: NDArray[np.int64]
    explained: float


def project(rows: RegionRows, index: Index, count: int, method: Method = "tsne", seed: int = 0) -> Projection:
    """Return ``count`` regions of a split in the plane; only these are read, and the same ones for one seed.

    Regions on objects to ignore are left out.

    Raises:
        InputError: there are fewer than two regions, features that are not finite, or the index is of other images.
    """
    labels = row_labels(rows, index)
    usable = np.flatnonzero(labels != IGNORED)
    chosen = usable[sample_by_class(labels[usable], count, seed)]
    if len(chosen) < 2:
        raise InputError(f"{rows.path}: {len(chosen)} regions make no picture; two or more would.")
    values = rows.take(chosen)
    if not np.isfinite(values).all():
        raise InputError(
            f"{rows.path}: {rows.layer} has values that are not finite; `boxline inspect summary` says in which units."
        )
    points, explained = lay_out(values, method, seed)
    of = np.bincount(labels[usable], minlength=len(index.classes) + 1)
    return Projection(
        rows.layer, method, index.classes, describe(rows.offsets, rows.boxes, index, chosen), points, of, explained
    )


def sample_by_class(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Return ``count`` positions of ``labels``, rising, or all where there are fewer.

    Every label gets an equal share; what a rare one cannot fill goes to the others. Within a label each position is
    equally likely, whatever the other labels are.
    """
    present, sizes = np.unique(labels, return_counts=True)
    parts = [np.zeros(0, np.int64)]
    left = min(count, len(labels))
    for place in np.argsort(sizes, kind="stable").tolist():  # the rarest first: what it leaves is shared by the rest
        share = min(int(sizes[place]), left // (len(present) - len(parts) + 1))
        rng = runtime.item_rng(seed, "inspect project", int(present[place]))
        parts.append(rng.choice(np.flatnonzero(labels == present[place]), share, replace=False))
        left -= share
    return np.sort(np.concatenate(parts))


def lay_out(values: NDArray[np.float32], method: Method, seed: int) -> tuple[NDArray[np.float32], float]:
    """Return a point for each row of ``values`` (N, width), ``(N, 2)`` float32, and the variance that PCA kept.

    ``pca``: the first two principal components. ``tsne``: t-SNE of the first `COMPONENTS`. One thread, so that the
    number of cores changes no point.
    """
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    components = min(2 if method == "pca" else COMPONENTS, *values.shape)
    with threadpool_limits(1):
        pca = PCA(components, random_state=seed).fit(values)
        points = pca.transform(values)
        if method == "tsne" and len(values) > 3 and points.shape[1] > 1:
            points = _tsne(points, seed)
    flat = np.zeros((len(values), 2), np.float32)
    flat[:, : points.shape[1]] = points[:, :2]
    return flat, float(pca.explained_variance_ratio_.sum())


def _tsne(values: NDArray, seed: int) -> NDArray:
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(values) - 1) / 3)
    return TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(values)
