"""How views look: text, PNG and a page without scripts or links outside; boxes on photographs, crops, tables."""

import base64
import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.colours import class_colour
from pipeline.core.storage import atomic
from pipeline.data.report import short
from pipeline.inspect.regions import OVERLAP, DescribedRegions, ImageProposals

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

DPI = 120
INK, QUIET, BACKGROUND = "#1b1d22", "#667085", "#9aa1ad"
BLUE, ORANGE = "#2f6fed", "#e0862a"
# A crop shows its surroundings too, so many times its longer side, faded by this share.
AROUND, FADED = 1.5, 0.6


@dataclass(frozen=True)
class Section:
    """A piece of text under a heading; lines keep their columns."""

    heading: str
    text: str


@dataclass(frozen=True)
class Rendering:
    """A view as text and picture.

    Attributes:
        title: of the page.
        sections: the text.
        figure: draws the picture, a matplotlib figure made without pyplot; called only when a picture is wanted.
    """

    title: str
    sections: tuple[Section, ...]
    figure: "Callable[[], Figure]"

    def text(self) -> str:
        """Return the sections as they look in a terminal."""
        parts = [f"{part.heading}\n{part.text}" if part.heading else part.text for part in self.sections]
        return "\n\n".join(part.rstrip("\n") for part in parts)

    def write(self, png: Path | None, html: Path | None) -> list[Path]:
        """Write the picture, the page, or both; return the files."""
        files = [file for file in (png, html) if file is not None]
        picture = png_bytes(self.figure()) if files else b""
        for file in files:
            with atomic(file) as temporary:
                temporary.write_bytes(self.page(picture).encode() if file is html else picture)
        return files

    def page(self, picture: bytes) -> str:
        """Return the HTML page with ``picture``, a PNG, inside."""
        from pipeline.html_templates import environment

        uri = "data:image/png;base64," + base64.b64encode(picture).decode("ascii")
        template = environment(Path(__file__).parent).get_template("page.html")
        return template.render(title=self.title, sections=self.sections, picture=uri)


def png_bytes(figure: "Figure") -> bytes:
    """Return a figure as PNG; equal figures give equal bytes."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # of letters that the font lacks; the text has them
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


# --- text --------------------------------------------------------------------------------------------------------


def table(rows: Sequence[Sequence[object]], align: str) -> str:
    """Return ``rows`` of cells as lines whose columns are two spaces apart; ``align`` has ``<`` or ``>`` for each."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, align, widths, strict=True)).rstrip()
        for row in texts
    )


def region_table(regions: DescribedRegions, classes: Sequence[str], least: float = 0) -> str:
    """Return the regions of one image that overlap an object by ``least`` or more: number, class, overlap, box."""
    rows = [
        (f"{regions.regions[i]:6}", regions.class_name(i, classes), f"{overlap:.2f}", box_text(regions.boxes[i]))
        for i, overlap in enumerate(regions.overlaps.tolist())
        if overlap >= least
    ]
    return table(rows, "><<<") or "none"


def proposal_sections(view: ImageProposals) -> tuple[Section, Section]:
    """Return the objects of an image and those of its proposals that show one."""
    heading = f"Its {len(view.proposals):,} best-ranked proposals, those with an overlap of {OVERLAP} or more"
    return (
        Section(f"Objects of {view.file}", region_table(view.truth, view.classes)),
        Section(heading, region_table(view.proposals, view.classes, OVERLAP)),
    )


def box_text(box: NDArray[np.float32]) -> str:
    """Return ``x1 y1 x2 y2`` with a decimal where it has one."""
    return " ".join(f"{side:g}" for side in np.round(box.astype(np.float64), 1).tolist())


# --- pictures ----------------------------------------------------------------------------------------------------


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


def lettering(name: str) -> str:
    """Return the name of a class for a figure: cut where it is long, and dollars are no formula."""
    return short(name).replace("$", r"\$")


def draw_title(axis: "Axes", text: str) -> None:
    """Write a title above the left end of ``axis``."""
    axis.set_title(text, fontsize=10, color=INK, loc="left")


def draw_box(axis: "Axes", box: Sequence[float] | NDArray, colour: Any, **style: Any) -> None:
    """Outline ``x1 y1 x2 y2``."""
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = (float(side) for side in box)
    axis.add_patch(
        Rectangle((x1, y1), x2 - x1, y2 - y1, **{"fill": False, "edgecolor": colour, "linewidth": 1.5} | style)
    )


def draw_colour_bar(axis: "Axes", colours: "Colormap | str", label: str, norm: Any = None) -> None:
    """Draw the scale of ``colours`` below ``axis``, from 0 to 1 where ``norm`` says nothing else."""
    from matplotlib.cm import ScalarMappable

    bar = axis.figure.colorbar(
        ScalarMappable(norm, colours), ax=axis, orientation="horizontal", fraction=0.04, pad=0.02, aspect=40
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=0, labelcolor=QUIET)
    bar.set_label(label, fontsize=8, color=QUIET)


def draw_proposals(axis: "Axes", view: ImageProposals) -> None:
    """Outline proposals on their photograph in the colours of their overlaps, the greatest on top and boldest.

    Objects are dashed, white on black, so that they show on any photograph.
    """
    draw_picture(axis, view.picture)
    colours = overlap_colours()
    for i in np.argsort(view.proposals.overlaps, kind="stable"):
        overlap = float(view.proposals.overlaps[i])
        box, strength = view.proposals.boxes[i], {"linewidth": 0.5 + 1.7 * overlap, "alpha": 0.2 + 0.8 * overlap}
        draw_box(axis, box, colours(overlap), **strength)
    for box in view.truth.boxes:
        draw_box(axis, box, "black", linewidth=2, alpha=0.6)
        draw_box(axis, box, "white", linewidth=1, linestyle=(0, (4, 2)))
    draw_title(axis, f"the {len(view.proposals)} best-ranked proposals")
    draw_colour_bar(axis, colours, "best overlap (IoU) with an object; objects are dashed")


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
