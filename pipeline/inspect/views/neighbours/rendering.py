"""A region and its nearest ones as text and as a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.data.images import read_image
from pipeline.inspect.describing.described_regions import DescribedRegions
from pipeline.inspect.showing.drawing import INK, QUIET, colour_of, draw_crop
from pipeline.inspect.showing.region_table import box_text
from pipeline.inspect.showing.rendering import Rendering, Section
from pipeline.inspect.views.neighbours.nearest import Neighbours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 6


def render(view: Neighbours, root: Path) -> Rendering:
    """Return what is shown of a region's neighbours; image files are relative to ``root``."""
    query = view.query.name(0)
    title = f"Nearest to {query} in {view.layer}"
    sections = (Section(title, _query_line(view)), Section("", "\n".join(_lines(view))))
    return Rendering(title, sections, lambda: figure(view, root))


def figure(view: Neighbours, root: Path) -> "Figure":
    """Return a matplotlib figure: the region at the left, its neighbours beside it, the most similar first.

    Each is outlined in the colour of its class, grey for the background.

    Raises:
        UnreadableImageError: an image is missing or broken.
    """
    from matplotlib.figure import Figure

    pictures = {file: read_image(root / file) for file in {*view.query.files, *view.found.files}}
    lines = max(2, -(-len(view.found) // COLUMNS))
    drawing = Figure(figsize=(12, 1.95 * lines + 0.1), layout="constrained")
    left, right = drawing.subfigures(1, 2, squeeze=False, width_ratios=[1.1 * min(lines, 2), COLUMNS])[0]
    _draw(left.subplots(), pictures, view.query, 0, view.classes, "asked about")
    axes = right.subplots(lines, COLUMNS).ravel()
    for axis in axes[len(view.found) :]:
        axis.set_visible(False)
    for i, axis in enumerate(axes[: len(view.found)]):
        _draw(axis, pictures, view.found, i, view.classes, f"{view.similarities[i]:.3f}")
    return drawing


def _draw(
    axis: "Axes",
    pictures: Mapping[str, NDArray[np.uint8]],
    regions: DescribedRegions,
    i: int,
    classes: tuple[str, ...],
    title: str,
) -> None:
    draw_crop(axis, pictures[regions.files[i]], regions.boxes[i], colour_of(int(regions.labels[i])))
    axis.set_title(f"{title}  {regions.class_name(i, classes)}", fontsize=9, color=INK, pad=4)
    name = regions.name(i)
    axis.set_xlabel(name, fontsize=min(7.5, 150 / len(name)), color=QUIET, labelpad=3)


def _query_line(view: Neighbours) -> str:
    return (
        f"{view.query.class_name(0, view.classes)}, overlap {view.query.overlaps[0]:.2f}, "
        f"box {box_text(view.query.boxes[0])}"
    )


def _lines(view: Neighbours) -> list[str]:
    if not len(view.found):
        return ["There is no other region."]
    name = max(len(view.found.name(i)) for i in range(len(view.found)))
    kind = max(10, *(len(view.found.class_name(i, view.classes)) for i in range(len(view.found))))
    lines = [f"{'cosine':>7}  {'region':{name}}  {'class':{kind}}  {'overlap':>7}  box"]
    for i, similarity in enumerate(view.similarities.tolist()):
        region, shown = view.found.name(i), view.found.class_name(i, view.classes)
        overlap, box = view.found.overlaps[i], box_text(view.found.boxes[i])
        lines.append(f"{similarity:7.4f}  {region:{name}}  {shown:{kind}}  {overlap:7.2f}  {box}")
    return lines
