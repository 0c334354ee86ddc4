"""One image as R-CNN saw it: its top proposals, the warped crops, and the units that each crop excites most."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.data.index import Index
from pipeline.inspect.drawing import (
    INK,
    QUIET,
    Rendering,
    Section,
    bare,
    colour_of,
    draw_proposals,
    lettering,
    proposal_sections,
    table,
)
from pipeline.inspect.regions import (
    DescribedRegions,
    ImageProposals,
    crop_settings,
    crops,
    describe,
    proposals_of_image,
)
from pipeline.inspect.rows import CachedRows, as_float32

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CROPS_IN_A_ROW = 2


@dataclass(frozen=True)
class ImageRegions:
    """One image as R-CNN's cache has it.

    Attributes:
        image: photograph, objects and best-ranked proposals.
        layer: whose units are shown.
        shown: the regions whose crops follow.
        crops: ``(len(shown), size, size, 3)`` uint8, as the network got them; black lies outside the image.
        units: ``(len(shown), K)`` int64, the units with the greatest cached values, greatest first.
        values: ``(len(shown), K)`` float32, these values.
    """

    image: ImageProposals
    layer: str
    shown: DescribedRegions
    crops: NDArray[np.uint8]
    units: NDArray[np.int64]
    values: NDArray[np.float32]

    def label(self, i: int) -> str:
        """Return class and overlap of the region ``i`` that is shown."""
        return f"{self.shown.class_name(i, self.image.classes)} {self.shown.overlaps[i]:.2f}"


def image_regions(
    rows: CachedRows,
    index: Index,
    position: int,
    root: Path,
    *,
    top: int,
    count: int,
    units: int,
    window: int | None = None,
) -> ImageRegions:
    """Return the image at ``position`` of ``index`` as R-CNN saw it.

    Args:
        rows: the cached features of the split.
        index: of the split.
        position: of the image.
        root: folder that the index's file names are relative to.
        top: proposals to show.
        count: how many of these to show as crops: each object's best, then each one's second, and so on.
        units: of each crop.
        window: a region to show as the first crop, by its number in the image; None: no particular one.

    Raises:
        UnreadableImageError: the image is missing or broken.
    """
    image = proposals_of_image(rows.offsets, rows.boxes, index, position, root, top)
    chosen = image.best_of_each_object(count)
    if window is not None:
        chosen = np.concatenate([[window], chosen[chosen != window]])[:count]
    start = int(rows.offsets[position])
    shown = describe(rows.offsets, rows.boxes, index, start + chosen)
    order = np.argsort(chosen)
    features = as_float32(rows.take(start + chosen[order]))[np.argsort(order)]
    strongest = np.argsort(-features, axis=1, kind="stable")[:, :units]
    image_ids = np.full(len(chosen), index.images[position].id)
    return ImageRegions(
        image=image,
        layer=rows.layer,
        shown=shown,
        crops=crops(image_ids, shown.boxes, crop_settings(rows), index, root),
        units=strongest,
        values=np.take_along_axis(features, strongest, axis=1),
    )


# --- text and picture ------------------------------------------------------------------------------------------------


def render(view: ImageRegions) -> Rendering:
    """Return the text and the picture of the image."""
    sections = (
        *proposal_sections(view.image),
        Section(f"Strongest units of {view.layer}, unit: value", _unit_table(view)),
    )
    return Rendering(f"{view.image.file} as R-CNN saw it", sections, lambda: figure(view))


def figure(view: ImageRegions) -> "Figure":
    """Return a matplotlib figure: proposals on the picture, and beside it crops with their strongest units."""
    from matplotlib.figure import Figure

    lines = -(-max(1, len(view.shown)) // CROPS_IN_A_ROW)
    height, width = view.image.picture.shape[:2]
    side = 5.2 * min(1.4, width / height)
    drawing = Figure(figsize=(side + 7, max(5.6 if width <= height else 4.6, 1.25 * lines)), layout="constrained")
    left, right = drawing.subfigures(1, 2, squeeze=False, width_ratios=[side, 7])[0]
    draw_proposals(left.subplots(), view.image)
    grid = right.subplots(lines, 2 * CROPS_IN_A_ROW, squeeze=False, width_ratios=[1, 1.5] * CROPS_IN_A_ROW)
    greatest = max(float(view.values.max(initial=0)), 1e-9)
    for i, (crop, bars) in enumerate(grid.reshape(-1, 2)):
        if i < len(view.shown):
            _draw_crop(crop, view, i)
            _draw_units(bars, view, i, greatest)
        else:
            crop.set_visible(False)
            bars.set_visible(False)
    right.suptitle(f"warped crops and their strongest units of {view.layer}", fontsize=10, color=INK, x=0.02, ha="left")
    return drawing


def _draw_crop(axis: "Axes", view: ImageRegions, i: int) -> None:
    axis.imshow(view.crops[i], interpolation="nearest")
    bare(axis)
    axis.spines[:].set(visible=True, color=colour_of(int(view.shown.labels[i])), linewidth=2.4)
    axis.set_title(f"{view.shown.regions[i]}: {lettering(view.label(i))}", fontsize=8, color=INK, pad=3)


def _draw_units(axis: "Axes", view: ImageRegions, i: int, greatest: float) -> None:
    places = range(view.units.shape[1])
    axis.barh(places, view.values[i], color=colour_of(int(view.shown.labels[i])), height=0.72)
    axis.set(xlim=(0, greatest * 1.25), yticks=places, yticklabels=view.units[i].tolist(), xticks=[])
    axis.set_ylim(len(places) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0, labelsize=8, labelcolor=INK)
    axis.spines[:].set_visible(False)
    for place, value in zip(places, view.values[i].tolist(), strict=True):
        axis.text(value + 0.02 * greatest, place, f"{value:.3g}", va="center", fontsize=7.5, color=QUIET)


def _unit_table(view: ImageRegions) -> str:
    rows = []
    for i, region in enumerate(view.shown.regions.tolist()):
        pairs = zip(view.units[i].tolist(), view.values[i].tolist(), strict=True)
        rows.append((f"{region:6}", view.label(i), *(f"{unit:>5}: {value:<6.3g}" for unit, value in pairs)))
    return table(rows, "><" + "<" * view.units.shape[1])
