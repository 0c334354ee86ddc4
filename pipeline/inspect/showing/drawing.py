"""What the pictures of the views share: photographs, boxes on them, crops with a little of their surroundings."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.colours import class_colour
from pipeline.inspect.describing.described_regions import DescribedRegions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

INK, QUIET, BACKGROUND = "#1b1d22", "#667085", "#9aa1ad"
# A crop shows its surroundings too, so many times its longer side, faded by this share.
AROUND, FADED = 1.5, 0.6


def overlap_colours() -> "Colormap":
    """Return the colours of overlaps from 0 to 1: quiet greys and blues up to a half, green and yellow beyond."""
    from matplotlib.colors import LinearSegmentedColormap

    stops = [(0, "#7d8597"), (0.3, "#4f7fd6"), (0.5, "#12b5a6"), (0.75, "#9bd23c"), (1, "#ffd60a")]
    return LinearSegmentedColormap.from_list("overlap", stops)


def colour_of(label: int) -> str:
    """Return the colour of a class, grey for the background and for objects to ignore."""
    return class_colour(label) if label > 0 else BACKGROUND


def draw_picture(axis: "Axes", picture: NDArray[np.uint8]) -> None:
    """Show a photograph ``(H, W, 3)`` in its own pixels, without ticks; boxes may be drawn over it."""
    height, width = picture.shape[:2]
    axis.imshow(picture, extent=(0, width, height, 0), interpolation="nearest" if width < 300 else "antialiased")
    axis.set(xlim=(0, width), ylim=(height, 0))
    bare(axis)


def bare(axis: "Axes") -> None:
    """Take ticks and frame away."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def draw_box(axis: "Axes", box: Sequence[float] | NDArray, colour: Any, **style: Any) -> None:
    """Outline ``x1 y1 x2 y2``."""
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = (float(side) for side in box)
    axis.add_patch(
        Rectangle((x1, y1), x2 - x1, y2 - y1, **{"fill": False, "edgecolor": colour, "linewidth": 1.5} | style)
    )


def draw_objects(axis: "Axes", truth: DescribedRegions) -> None:
    """Outline the objects of an image, dashed white on black, so that they show on any photograph."""
    for box in truth.boxes:
        draw_box(axis, box, "black", linewidth=2, alpha=0.6)
        draw_box(axis, box, "white", linewidth=1, linestyle=(0, (4, 2)))


def draw_proposals(axis: "Axes", proposals: DescribedRegions) -> None:
    """Outline proposals in the colours of their overlaps, the greatest overlap on top and boldest."""
    colours = overlap_colours()
    for i in np.argsort(proposals.overlaps, kind="stable"):
        overlap = float(proposals.overlaps[i])
        draw_box(axis, proposals.boxes[i], colours(overlap), linewidth=0.5 + 1.7 * overlap, alpha=0.2 + 0.8 * overlap)


def draw_overlap_scale(axis: "Axes") -> None:
    """Draw the scale of `overlap_colours` below ``axis``."""
    from matplotlib.cm import ScalarMappable

    bar = axis.figure.colorbar(
        ScalarMappable(cmap=overlap_colours()), ax=axis, orientation="horizontal", fraction=0.04, pad=0.02, aspect=40
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=0, labelcolor=QUIET)
    bar.set_label("best overlap (IoU) with an object; objects are dashed", fontsize=8, color=QUIET)


def draw_crop(axis: "Axes", picture: NDArray[np.uint8], box: NDArray[np.float32], colour: str) -> None:
    """Show a region with its surroundings faded, in a square, outlined."""
    x1, y1, x2, y2 = box.tolist()
    height, width = picture.shape[:2]
    half = max(x2 - x1, y2 - y1) * AROUND / 2
    centre = (x1 + x2) / 2, (y1 + y2) / 2
    faded = (255 - (255 - picture.astype(np.float32)) * (1 - FADED)).astype(np.uint8)
    left, top, right, bottom = (round(side) for side in (x1, y1, x2, y2))
    faded[top:bottom, left:right] = picture[top:bottom, left:right]
    axis.imshow(faded, extent=(0, width, height, 0), interpolation="bilinear")
    axis.set(xlim=(centre[0] - half, centre[0] + half), ylim=(centre[1] + half, centre[1] - half), aspect="equal")
    bare(axis)
    draw_box(axis, box, colour, linewidth=2.4)
