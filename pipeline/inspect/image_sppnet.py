"""One image as SPP-net saw it: the map channel by channel, and the cells and bins that a region pools."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.core.boxes import Boxes, as_boxes
from pipeline.data.index import Index
from pipeline.inspect.drawing import (
    INK,
    Rendering,
    Section,
    bare,
    box_text,
    draw_box,
    draw_colour_bar,
    draw_picture,
    draw_proposals,
    draw_title,
    proposal_sections,
)
from pipeline.inspect.regions import ImageProposals, proposals_of_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from pipeline.features.maps import ImageMaps, MapCache
    from pipeline.features.regions import Regions
    from pipeline.nets.geometry import Geometry
    from pipeline.systems.sppnet.params import Window

HEAT, CELLS, WINDOW = "magma", "#ffd60a", "#35e0ff"
TILES_IN_A_ROW = 8
# Between bins, as a share of the region's longer side.
GAP = 0.04


@dataclass(frozen=True)
class PooledWindow:
    """A window, the scale that it is pooled at, and the cells that it pools there.

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
        image: photograph, objects and best-ranked proposals.
        scales: shorter side of the input at each scale.
        map_sizes: ``(S, 2)`` int64, height and width of each scale's map in cells.
        region: number of the pooled window among the image's regions.
        window: the cells and bins that it pools.
        grid: of the map that it is pooled from.
        heat: ``(h, w)`` float32, length of each cell's vector in that map.
        channels: ``(K,)`` int64, the channels that are greatest inside the window, greatest first.
        tiles: ``(K, h, w)`` float32, these channels of the map.
    """

    image: ImageProposals
    scales: tuple[int, ...]
    map_sizes: NDArray[np.int64]
    region: int
    window: PooledWindow
    grid: MapGrid
    heat: NDArray[np.float32]
    channels: NDArray[np.int64]
    tiles: NDArray[np.float32]


def image_map(
    maps: "MapCache",
    regions: "Regions",
    index: Index,
    position: int,
    root: Path,
    window: "Window",
    levels: Sequence[int],
    *,
    top: int,
    channels: int,
    region: int | None = None,
) -> ImageMap:
    """Return the image at ``position`` of ``index`` as SPP-net saw it, and the cells that one of its regions pools.

    Args:
        maps: the cached maps of the split.
        regions: of the split, objects first.
        index: of the split.
        position: of the image.
        root: folder that the index's file names are relative to.
        window: how windows are projected, and which scale suits them.
        levels: of the pyramid.
        top: proposals to show.
        channels: of the map to show.
        region: number of the region to pool; None: the one of the shown proposals that overlaps an object most.

    Raises:
        UnreadableImageError: the image is missing or broken.
    """
    from pipeline.nets.backbones import architecture
    from pipeline.nets.geometry import Geometry

    image = proposals_of_image(regions.offsets, regions.boxes, index, position, root, top)
    if region is None:
        region = int(image.best_of_each_object(1)[0]) if len(image.proposals) else 0
    cached = maps.image(position)
    geometry = Geometry.from_architecture(architecture(str(maps.attributes["network"])))
    box = regions.boxes[regions.offsets[position] + region]
    pooled = pool_window(cached, box, maps.scales, geometry, window, levels)
    height, width = cached.hw[pooled.scale].tolist()
    cells = np.asarray(cached.cells[pooled.scale], np.float32).reshape(height, width, -1)
    x1, y1, x2, y2 = pooled.cells.tolist()
    strongest = np.argsort(-cells[y1:y2, x1:x2].max(axis=(0, 1)), kind="stable")[:channels]
    return ImageMap(
        image=image,
        scales=maps.scales,
        map_sizes=cached.hw,
        region=region,
        window=pooled,
        grid=grid_of(geometry, cached.factors[pooled.scale], (height, width)),
        heat=np.linalg.norm(cells, axis=2),
        channels=strongest,
        tiles=np.ascontiguousarray(cells[:, :, strongest].transpose(2, 0, 1)),
    )


def pool_window(
    maps: "ImageMaps",
    box: ArrayLike,
    scales: Sequence[int],
    geometry: "Geometry",
    window: "Window",
    levels: Sequence[int],
) -> PooledWindow:
    """Return the scale that ``box`` (4,) takes and the cells and bins that it pools there, by the pipeline's rules."""
    import torch

    from pipeline.features.pyramid import bins, choose_scale, project

    boxes = as_boxes(box)
    scale = int(choose_scale(boxes, maps.factors, scales, window.side, window.rule)[0])
    cells = project(boxes, maps.factors[scale], maps.hw[scale], geometry, window.rule)
    return PooledWindow(
        box=boxes[0],
        scale=scale,
        cells=cells[0],
        bins={level: bins(torch.from_numpy(cells), level)[0].numpy() for level in levels},
    )


def grid_of(geometry: "Geometry", factors: NDArray[np.float64], hw: tuple[int, int]) -> MapGrid:
    """Return where the cells of a map lie in the image, given input pixels per image pixel, ``factors`` (2,)."""
    return MapGrid(hw, geometry.offset / factors, geometry.stride / factors)


# --- text ------------------------------------------------------------------------------------------------------------


def render(view: ImageMap) -> Rendering:
    """Return the text and the picture of the image."""
    sections = (
        *proposal_sections(view.image),
        Section("Its maps", "\n".join(_scale_lines(view))),
        Section(f"Cells that region {view.region} pools", "\n".join(_window_lines(view))),
        Section("Channels that are strongest there, channel: greatest value", _channel_lines(view)),
    )
    return Rendering(f"{view.image.file} as SPP-net saw it", sections, lambda: figure(view))


def _scale_lines(view: ImageMap) -> list[str]:
    return [
        f"scale {scale}: {height} x {width} cells (height x width){'; used' if place == view.window.scale else ''}"
        for place, (scale, (height, width)) in enumerate(zip(view.scales, view.map_sizes.tolist(), strict=True))
    ]


def _window_lines(view: ImageMap) -> list[str]:
    x1, y1, x2, y2 = view.window.cells.tolist()
    lines = [
        f"box    {box_text(view.window.box)}",
        f"scale  {view.scales[view.window.scale]}",
        f"cells  x {x1} to {x2 - 1}, y {y1} to {y2 - 1}: {x2 - x1} x {y2 - y1}",
    ]
    for level, bins in view.window.bins.items():
        least, most = (bins[:, 2:] - bins[:, :2]).min(axis=0), (bins[:, 2:] - bins[:, :2]).max(axis=0)
        sides = " x ".join(str(a) if a == b else f"{a} to {b}" for a, b in zip(least, most, strict=True))
        lines.append(f"level  {level} x {level} bins of {sides} cells")
    return lines


def _channel_lines(view: ImageMap) -> str:
    x1, y1, x2, y2 = view.window.cells.tolist()
    greatest = view.tiles[:, y1:y2, x1:x2].max(axis=(1, 2)).tolist()
    pairs = [f"{channel:>5}: {value:<6.3g}" for channel, value in zip(view.channels.tolist(), greatest, strict=True)]
    return "\n".join("".join(pairs[start : start + 6]) for start in range(0, len(pairs), 6))


# --- picture -------------------------------------------------------------------------------------------------------


def figure(view: ImageMap) -> "Figure":
    """Return a matplotlib figure: proposals, heat and window on the picture, the window's bins, channel tiles."""
    from matplotlib.figure import Figure

    rows = -(-len(view.channels) // TILES_IN_A_ROW)
    height, width = view.grid.hw
    tile = 12.4 / TILES_IN_A_ROW * height / width + 0.2
    ratio = view.image.picture.shape[0] / view.image.picture.shape[1]
    upper_height = max(4.4 * ratio + 0.7, 3.4)
    drawing = Figure(figsize=(13, upper_height + rows * tile + 0.3), layout="constrained")
    upper, lower = drawing.subfigures(2, 1, squeeze=False, height_ratios=[upper_height, rows * tile + 0.3])[:, 0]
    left, middle, right = upper.subfigures(1, 3, squeeze=False, width_ratios=[1, 1, 0.95])[0]
    draw_proposals(left.subplots(), view.image)
    _draw_heat(middle.subplots(), view)
    _draw_bins(right, view)
    _draw_tiles(lower, view, rows)
    return drawing


def _draw_heat(axis: "Axes", view: ImageMap) -> None:
    """Lay the heat over the picture in grey; draw the window, the cells that it pools and their centres."""
    from matplotlib.colors import Normalize

    grey = np.repeat(view.image.picture.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    draw_picture(axis, grey)
    height, width = view.grid.hw
    x1, y1, x2, y2 = view.grid.outline([0, 0, width, height])[0].tolist()
    scale = Normalize(0, _greatest(view.heat))
    limits = axis.get_xlim(), axis.get_ylim()
    axis.imshow(
        view.heat, extent=(x1, x2, y2, y1), cmap=HEAT, norm=scale, interpolation="bilinear",
        alpha=0.35 + 0.45 * scale(view.heat).data,
    )  # fmt: skip
    axis.set(xlim=limits[0], ylim=limits[1])
    first_x, first_y, last_x, last_y = view.window.cells.tolist()
    columns, lines = view.grid.centres()
    x, y = np.meshgrid(columns[first_x:last_x], lines[first_y:last_y])
    axis.scatter(x, y, s=5, color=CELLS, linewidth=0)
    draw_box(axis, view.grid.outline(view.window.cells)[0], CELLS, linewidth=1.6)
    draw_box(axis, view.window.box, WINDOW, linewidth=2)
    scale_name = f"scale {view.scales[view.window.scale]}"
    draw_title(axis, f"length of the cells at {scale_name}; region {view.region} and its cells")
    draw_colour_bar(axis, HEAT, "blue: the region; yellow: the cells that it pools, a dot at each centre", scale)


def _draw_bins(part: "SubFigure", view: ImageMap) -> None:
    """Draw the bins of each level."""
    levels = list(view.window.bins)
    columns = 1 if len(levels) == 1 else 2
    axes = part.subplots(-(-len(levels) // columns), columns, squeeze=False).ravel()
    for axis in axes[len(levels) :]:
        axis.set_visible(False)
    for axis, level in zip(axes, levels, strict=False):
        _draw_level(axis, view, level)
    x1, y1, x2, y2 = view.window.cells.tolist()
    part.suptitle(f"cells that each bin pools of the region's {x2 - x1} x {y2 - y1}", fontsize=10, color=INK)


def _draw_level(axis: "Axes", view: ImageMap, level: int) -> None:
    """Draw the cells of each bin of a level apart from its neighbours', since neighbours may share cells."""
    bins = view.window.bins[level].reshape(level, level, 4)
    gap = GAP * (view.window.cells[2:] - view.window.cells[:2]).max()
    sizes = bins[:, :, 2:] - bins[:, :, :2] + gap
    width, height = sizes[0, :, 0].sum() - gap, sizes[:, 0, 1].sum() - gap
    left, top = np.cumsum(sizes[0, :, 0]) - sizes[0, :, 0], np.cumsum(sizes[:, 0, 1]) - sizes[:, 0, 1]
    for (i, j), (x1, y1, x2, y2) in zip(np.ndindex(level, level), bins.reshape(-1, 4).tolist(), strict=True):
        place = (left[j], left[j] + x2 - x1, top[i] + y2 - y1, top[i])
        axis.imshow(view.heat[y1:y2, x1:x2], extent=place, cmap=HEAT, vmin=0, vmax=_greatest(view.heat))
    axis.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    bare(axis)
    axis.set_title(f"{level} x {level}", fontsize=9, color=INK, pad=3)


def _draw_tiles(part: "SubFigure", view: ImageMap, rows: int) -> None:
    axes = part.subplots(rows, TILES_IN_A_ROW, squeeze=False).ravel()
    for axis in axes[len(view.channels) :]:
        axis.set_visible(False)
    for axis, channel, tile in zip(axes, view.channels.tolist(), view.tiles, strict=False):
        height, width = tile.shape
        axis.imshow(tile, extent=(0, width, height, 0), cmap=HEAT, vmin=0, vmax=_greatest(tile))
        draw_box(axis, view.window.cells, CELLS, linewidth=1)
        bare(axis)
        axis.set_title(f"{channel}, up to {tile.max():.3g}", fontsize=8, color=INK, pad=3)
    part.suptitle(
        f"the {len(view.channels)} channels that are strongest in the region, each to its own greatest value",
        fontsize=10, color=INK, x=0.01, ha="left",
    )  # fmt: skip


def _greatest(values: NDArray[np.float32]) -> float:
    """Return the upper end of a scale from 0 for ``values``, above 0 where all are 0."""
    return max(float(values.max()), 1e-9)
