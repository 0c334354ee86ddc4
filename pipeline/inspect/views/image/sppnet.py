"""What SPP-net saw of one image: the map channel by channel, and the cells and bins that a window pools."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pipeline.core.boxes import Boxes, as_boxes
from pipeline.data.index import Index
from pipeline.features.maps import ImageMaps, MapCache
from pipeline.features.pyramid import bins, choose_scale, project
from pipeline.features.regions import Regions
from pipeline.inspect.describing.described_regions import DescribedRegions, best_of_each_object, describe
from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry
from pipeline.systems.sppnet.params import Window


@dataclass(frozen=True)
class PooledWindow:
    """A window, the scale that it is pooled at, and what it pools there.

    Attributes:
        box: ``(4,)`` float32, in pixels of the image.
        scale: position of its scale.
        cells: ``(4,)`` int64, the cells that it covers, ``x1 y1 x2 y2``, half-open.
        bins: for each pyramid level ``n`` the cells of its bins, row by row, ``(n * n, 4)`` int64 of the same form;
            bins of more than one cell may share a row or a column with their neighbours.
    """

    box: NDArray[np.float32]
    scale: int
    cells: NDArray[np.int64]
    bins: dict[int, NDArray[np.int64]]


@dataclass(frozen=True)
class MapGrid:
    """Where the cells of a map lie in the image, in its pixels, along x and y.

    Attributes:
        hw: height and width in cells.
        first: ``(2,)`` float64, centre of the receptive field of cell 0.
        step: ``(2,)`` float64, from one centre to the next.
    """

    hw: tuple[int, int]
    first: NDArray[np.float64]
    step: NDArray[np.float64]

    def centres(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the x of the columns' centres ``(W,)`` and the y of the rows' ``(H,)``."""
        height, width = self.hw
        return self.first[0] + self.step[0] * np.arange(width), self.first[1] + self.step[1] * np.arange(height)

    def outline(self, cells: ArrayLike) -> Boxes:
        """Return boxes of cells ``(N, 4)`` in pixels; a cell reaches half a step to each side of its centre."""
        corners = np.asarray(cells, np.float64).reshape(-1, 4) - 0.5
        return as_boxes(np.tile(self.first, 2) + np.tile(self.step, 2) * corners)


@dataclass(frozen=True)
class ImageMap:
    """One image as SPP-net's cache has it.

    Attributes:
        picture: ``(H, W, 3)`` uint8.
        classes: of the dataset.
        truth: its objects.
        proposals: the best-ranked of its proposals, in that order.
        scales: shorter side of the input at each scale.
        map_sizes: ``(S, 2)`` int64, height and width of each scale's map in cells.
        region: number of the pooled window among the image's regions.
        window: what it pools.
        grid: of the map that it is pooled from.
        heat: ``(h, w)`` float32, length of each cell's vector in that map.
        channels: ``(K,)`` int64, the channels that are greatest inside the window, greatest first.
        tiles: ``(K, h, w)`` float32, these channels of the map.
    """

    picture: NDArray[np.uint8]
    classes: tuple[str, ...]
    truth: DescribedRegions
    proposals: DescribedRegions
    scales: tuple[int, ...]
    map_sizes: NDArray[np.int64]
    region: int
    window: PooledWindow
    grid: MapGrid
    heat: NDArray[np.float32]
    channels: NDArray[np.int64]
    tiles: NDArray[np.float32]


def image_map(
    maps: MapCache,
    regions: Regions,
    index: Index,
    position: int,
    picture: NDArray[np.uint8],
    window: Window,
    levels: Sequence[int],
    *,
    top: int,
    channels: int,
    region: int | None = None,
) -> ImageMap:
    """Return what SPP-net saw of the image at ``position`` of ``index``, and what one of its regions pools.

    Args:
        maps: the cached maps of the split.
        regions: of the split, objects first.
        index: of the split.
        position: of the image.
        picture: its pixels, ``(H, W, 3)`` uint8.
        window: how windows are projected, and which scale suits them.
        levels: of the pyramid.
        top: proposals to show.
        channels: of the map to show.
        region: number of the region to pool; None: the one of the shown proposals that overlaps an object most.
    """
    start, stop = regions.offsets[position : position + 2].tolist()
    objects = start + len(index.images[position].boxes)
    proposals = describe(regions.offsets, regions.boxes, index, np.arange(objects, min(objects + top, stop)))
    if region is None:
        region = int(best_of_each_object(proposals, index.images[position], 1)[0]) if len(proposals) else 0
    image = maps.image(position)
    geometry = Geometry.from_architecture(architecture(str(maps.attributes["network"])))
    pooled = pool_window(image, regions.boxes[start + region], maps.scales, geometry, window, levels)
    height, width = image.hw[pooled.scale].tolist()
    cells = np.asarray(image.cells[pooled.scale], np.float32).reshape(height, width, -1)
    strongest = strongest_channels(cells, pooled.cells, channels)
    return ImageMap(
        picture=picture,
        classes=index.classes,
        truth=describe(regions.offsets, regions.boxes, index, np.arange(start, objects)),
        proposals=proposals,
        scales=maps.scales,
        map_sizes=image.hw,
        region=region,
        window=pooled,
        grid=grid_of(geometry, image.factors[pooled.scale], (height, width)),
        heat=np.linalg.norm(cells, axis=2),
        channels=strongest,
        tiles=np.ascontiguousarray(cells[:, :, strongest].transpose(2, 0, 1)),
    )


def pool_window(
    maps: ImageMaps, box: ArrayLike, scales: Sequence[int], geometry: Geometry, window: Window, levels: Sequence[int]
) -> PooledWindow:
    """Return the scale that ``box`` (4,) takes and the cells and bins that it pools there, by the pipeline's rules."""
    boxes = as_boxes(box)
    scale = int(choose_scale(boxes, maps.factors, scales, window.side, window.rule)[0])
    cells = project(boxes, maps.factors[scale], maps.hw[scale], geometry, window.rule)
    return PooledWindow(
        box=boxes[0],
        scale=scale,
        cells=cells[0],
        bins={level: bins(torch.from_numpy(cells), level)[0].numpy() for level in levels},
    )


def grid_of(geometry: Geometry, factors: NDArray[np.float64], hw: tuple[int, int]) -> MapGrid:
    """Return where the cells of a map lie in the image, given input pixels per image pixel, ``factors`` (2,)."""
    return MapGrid(hw, geometry.offset / factors, geometry.stride / factors)


def strongest_channels(cells: NDArray[np.float32], window: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the ``count`` channels of a map ``(h, w, C)`` with the greatest maximum in ``window``, ``(count,)``."""
    x1, y1, x2, y2 = window.tolist()
    return np.argsort(-cells[y1:y2, x1:x2].max(axis=(0, 1)), kind="stable")[:count]
