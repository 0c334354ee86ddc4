"""The regions of a split that look most like a given one to the network: by the cosine of their features."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.errors import InputError
from pipeline.data.index import Index
from pipeline.inspect.describing.described_regions import DescribedRegions, describe
from pipeline.inspect.reading.region_rows import RegionRows

# Rows are widened to float32 so many bytes at a time: these stay in the processor's cache, a whole block would not.
STRETCH_BYTES = 1 << 20


@dataclass(frozen=True)
class Neighbours:
    """A region and those nearest to it.

    Attributes:
        layer: whose features were compared.
        classes: of the dataset.
        query: the one region asked about.
        found: up to as many as were asked for, the most similar first.
        similarities: ``(len(found),)`` float32, cosines.
    """

    layer: str
    classes: tuple[str, ...]
    query: DescribedRegions
    found: DescribedRegions
    similarities: NDArray[np.float32]


def neighbours(
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
    own = int(rows.offsets[position]) + region
    query = rows.take(np.array([own]))[0]
    where, where_index = among or (rows, index)
    left_out = slice(0, 0)
    if among is None:
        left_out = slice(own, own + 1) if same_image else slice(*rows.offsets[position : position + 2].tolist())
    described = describe(rows.offsets, rows.boxes, index, np.array([own]))
    if not np.any(query):
        raise InputError(
            f"{described.name(0)}: its {rows.layer} is zero in every unit and like no other region; "
            "another layer or region would do."
        )
    found, similarities = nearest(where, query, top, left_out)
    return Neighbours(
        rows.layer, index.classes, described, describe(where.offsets, where.boxes, where_index, found), similarities
    )


def nearest(
    rows: RegionRows, query: NDArray[np.float32], top: int, left_out: slice = slice(0, 0)
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the numbers of the ``top`` rows with the greatest cosine to ``query`` ``(width,)``, and the cosines.

    Both are ``(K,)``, K at most ``top``, the greatest first; of equal cosines the first row. Rows of ``left_out`` and
    rows with values that are not finite are passed over; a row of zeros has the cosine 0. Cosines are float32.
    """
    direction = torch.from_numpy(query / np.linalg.norm(query))
    best, cosines = np.zeros(0, np.int64), np.zeros(0, np.float32)
    for start, found in rows.map(lambda _, block: _cosines(block, direction)):
        found[max(0, left_out.start - start) : max(0, left_out.stop - start)] = -np.inf
        least = cosines[-1] if len(cosines) == top else np.float32(-np.inf)
        candidates = np.flatnonzero(found > least)
        best = np.concatenate([best, start + candidates])
        cosines = np.concatenate([cosines, found[candidates]])
        order = np.argsort(-cosines, kind="stable")[:top]
        best, cosines = best[order], cosines[order]
    return best, cosines


def _cosines(block: NDArray, direction: torch.Tensor) -> NDArray[np.float32]:
    """Return the cosine of each row of ``block`` (n, width) to a vector of length 1, -inf where it is no number."""
    stretch = max(1, STRETCH_BYTES // (block.shape[1] * 4))
    parts = []
    for rows in torch.from_numpy(block).split(stretch):
        values = rows.float()
        lengths = torch.linalg.vector_norm(values, dim=1)
        parts.append(torch.mv(values, direction) / lengths.clamp(min=torch.finfo(torch.float32).tiny))
    return torch.nan_to_num(torch.cat(parts), nan=-torch.inf, posinf=-torch.inf, neginf=-torch.inf).numpy()
