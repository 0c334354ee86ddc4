"""What R-CNN saw of one image, as text and as a picture."""

from typing import TYPE_CHECKING

from pipeline.inspect.describing.described_regions import DescribedRegions
from pipeline.inspect.describing.labels import OVERLAP
from pipeline.inspect.showing.drawing import (
    INK,
    QUIET,
    bare,
    colour_of,
    draw_objects,
    draw_overlap_scale,
    draw_picture,
    draw_proposals,
)
from pipeline.inspect.showing.region_table import proposal_heading, region_table
from pipeline.inspect.showing.rendering import Rendering, Section
from pipeline.inspect.views.image.rcnn import ImageRegions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CROPS_IN_A_ROW = 2


def render(view: ImageRegions, file: str) -> Rendering:
    """Return what is shown of the image ``file``."""
    sections = (
        Section(f"Objects of {file}", region_table(view.truth, view.classes)),
        Section(proposal_heading(view.proposals), region_table(view.proposals, view.classes, OVERLAP)),
        Section(f"Strongest units of {view.layer}, unit: value", "\n".join(_unit_lines(view))),
    )
    return Rendering(f"{file} as R-CNN saw it", sections, lambda: figure(view))


def figure(view: ImageRegions) -> "Figure":
    """Return a matplotlib figure: proposals on the picture, and beside it crops with their strongest units."""
    from matplotlib.figure import Figure

    lines = -(-max(1, len(view.shown)) // CROPS_IN_A_ROW)
    height, width = view.picture.shape[:2]
    side = 5.2 * min(1.4, width / height)
    drawing = Figure(figsize=(side + 7, max(5.6 if width <= height else 4.6, 1.25 * lines)), layout="constrained")
    left, right = drawing.subfigures(1, 2, squeeze=False, width_ratios=[side, 7])[0]
    axis = left.subplots()
    draw_picture(axis, view.picture)
    draw_proposals(axis, view.proposals)
    draw_objects(axis, view.truth)
    axis.set_title(f"the {len(view.proposals)} best-ranked proposals", fontsize=10, color=INK, loc="left")
    draw_overlap_scale(axis)
    grid = right.subplots(lines, 2 * CROPS_IN_A_ROW, squeeze=False, width_ratios=[1, 1.5] * CROPS_IN_A_ROW)
    pairs = grid.reshape(-1, 2)
    top = max(float(view.values.max(initial=0)), 1e-9)
    for i, (crop, bars) in enumerate(pairs):
        if i < len(view.shown):
            _draw_crop(crop, view, i)
            _draw_units(bars, view, i, top)
        else:
            crop.set_visible(False)
            bars.set_visible(False)
    right.suptitle(f"warped crops and their strongest units of {view.layer}", fontsize=10, color=INK, x=0.02, ha="left")
    return drawing


def _draw_crop(axis: "Axes", view: ImageRegions, i: int) -> None:
    axis.imshow(view.crops[i], interpolation="nearest")
    bare(axis)
    colour = colour_of(int(view.shown.labels[i]))
    axis.spines[:].set(visible=True, color=colour, linewidth=2.4)
    axis.set_title(f"{view.shown.regions[i]}: {_kind(view.shown, i, view.classes)}", fontsize=8, color=INK, pad=3)


def _kind(regions: DescribedRegions, i: int, classes: tuple[str, ...]) -> str:
    return f"{regions.class_name(i, classes)} {regions.overlaps[i]:.2f}"


def _draw_units(axis: "Axes", view: ImageRegions, i: int, top: float) -> None:
    places = range(view.units.shape[1])
    axis.barh(places, view.values[i], color=colour_of(int(view.shown.labels[i])), height=0.72)
    axis.set(xlim=(0, top * 1.25), yticks=places, yticklabels=view.units[i].tolist(), xticks=[])
    axis.set_ylim(len(places) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0, labelsize=8, labelcolor=INK)
    axis.spines[:].set_visible(False)
    for place, value in zip(places, view.values[i].tolist(), strict=True):
        axis.text(value + 0.02 * top, place, f"{value:.3g}", va="center", fontsize=7.5, color=QUIET)


def _unit_lines(view: ImageRegions) -> list[str]:
    kinds = [_kind(view.shown, i, view.classes) for i in range(len(view.shown))]
    width = max((len(kind) for kind in kinds), default=0)
    return [
        f"{region:6}  {kind:{width}}  "
        + "  ".join(f"{unit:>5}: {value:<6.3g}" for unit, value in zip(*found, strict=True))
        for region, kind, *found in zip(
            view.shown.regions.tolist(), kinds, view.units.tolist(), view.values.tolist(), strict=True
        )
    ]
