"""A view as a person sees it: text in the terminal, a PNG, or one HTML file without scripts or links outside."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.storage import atomic
from pipeline.html_templates import environment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 120


@dataclass(frozen=True)
class Section:
    """A piece of text under a heading; lines keep their columns."""

    heading: str
    text: str


@dataclass(frozen=True)
class Rendering:
    """What is shown of a view.

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
        if png is None and html is None:
            return []
        picture = png_bytes(self.figure())
        written = []
        if png is not None:
            with atomic(png) as temporary:
                temporary.write_bytes(picture)
            written.append(png)
        if html is not None:
            with atomic(html) as temporary:
                temporary.write_text(self.page(picture), encoding="utf-8", newline="\n")
            written.append(html)
        return written

    def page(self, picture: bytes) -> str:
        """Return the HTML page with ``picture``, a PNG, inside."""
        pages = environment(Path(__file__).parent)
        uri = "data:image/png;base64," + base64.b64encode(picture).decode("ascii")
        template = pages.get_template("page.html")
        return template.render(title=self.title, sections=self.sections, picture=uri)


def png_bytes(figure: "Figure") -> bytes:
    """Return a figure as PNG; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
