"""What SPP-net saw of one image, as text and as a picture."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.inspect.describing.labels import OVERLAP
from pipeline.inspect.showing.drawing import (
    INK,
    QUIET,
    bare,
    draw_box,
    draw_objects,
    draw_overlap_scale,
    draw_picture,
    draw_proposals,
)
from pipeline.inspect.showing.region_table import box_text, proposal_heading, region_table
from pipeline.inspect.showing.rendering import Rendering, Section
from pipeline.inspect.views.image.sppnet import ImageMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

HEAT, CELLS, WINDOW = "magma", "#ffd60a", "#35e0ff"
TILES_IN_A_ROW = 8
# Between bins, as a share of the region's longer side.
GAP = 0.04


def render(view: ImageMap, file: str) -> Rendering:
    """Return what is shown of the image ``file``."""
    sections = (
        Section(f"Objects of {file}", region_table(view.truth, view.classes)),
        Section(proposal_heading(view.proposals), region_table(view.proposals, view.classes, OVERLAP)),
        Section("Its maps", "\n".join(_scale_lines(view))),
        Section(f"What region {view.region} pools", "\n".join(_window_lines(view))),
        Section("Channels that are strongest there, channel: greatest value", _channel_line(view)),
    )
    return Rendering(f"{file} as SPP-net saw it", sections, lambda: figure(view))


def figure(view: ImageMap) -> "Figure":
    """Return a matplotlib figure: proposals, heat and window on the picture, the window's bins, channel tiles."""
    from matplotlib.figure import Figure

    rows = -(-len(view.channels) // TILES_IN_A_ROW)
    height, width = view.grid.hw
    tile = 12.4 / TILES_IN_A_ROW * height / width + 0.2
    ratio = view.picture.shape[0] / view.picture.shape[1]
    upper_height = max(4.4 * ratio + 0.7, 3.4)
    drawing = Figure(figsize=(13, upper_height + rows * tile + 0.3), layout="constrained")
    upper, lower = drawing.subfigures(2, 1, squeeze=False, height_ratios=[upper_height, rows * tile + 0.3])[:, 0]
    left, middle, right = upper.subfigures(1, 3, squeeze=False, width_ratios=[1, 1, 0.95])[0]
    _draw_proposals(left.subplots(), view)
    _draw_heat(middle.subplots(), view)
    _draw_bins(right, view)
    _draw_tiles(lower, view, rows)
    return drawing


def _title(axis: "Axes", text: str) -> None:
    axis.set_title(text, fontsize=10, color=INK, loc="left")


def _draw_proposals(axis: "Axes", view: ImageMap) -> None:
    draw_picture(axis, view.picture)
    draw_proposals(axis, view.proposals)
    draw_objects(axis, view.truth)
    _title(axis, f"the {len(view.proposals)} best-ranked proposals")
    draw_overlap_scale(axis)


def _draw_heat(axis: "Axes", view: ImageMap) -> None:
    """Lay the heat over the picture in grey; draw the window, the cells that it pools and their centres."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    grey = np.repeat(view.picture.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
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
    _title(axis, f"length of the cells at {scale_name}; region {view.region} and its cells")
    bar = axis.figure.colorbar(
        ScalarMappable(scale, HEAT), ax=axis, orientation="horizontal", fraction=0.04, pad=0.02, aspect=40
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=0, labelcolor=QUIET)
    bar.set_label("blue: the region; yellow: the cells that it pools, a dot at each centre", fontsize=8, color=QUIET)


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
    part.suptitle(f"what the bins pool of the region's {x2 - x1} x {y2 - y1} cells", fontsize=10, color=INK)


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


def _channel_line(view: ImageMap) -> str:
    x1, y1, x2, y2 = view.window.cells.tolist()
    greatest = view.tiles[:, y1:y2, x1:x2].max(axis=(1, 2)).tolist()
    pairs = [f"{channel:>5}: {value:<6.3g}" for channel, value in zip(view.channels.tolist(), greatest, strict=True)]
    return "\n".join("".join(pairs[start : start + 6]) for start in range(0, len(pairs), 6))
