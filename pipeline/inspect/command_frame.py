"""What the commands of the views share: their options, and how each ends."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline.inspect.showing.rendering import Rendering


class CachedSystem(StrEnum):
    """The systems that cache features."""

    RCNN = "rcnn"
    SPPNET = "sppnet"


class SplitName(StrEnum):
    """The splits."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


SystemOption = Annotated[
    CachedSystem, typer.Option("--system", help="Whose cache: rcnn (warped regions) or sppnet (cells of maps).")
]
SplitOption = Annotated[SplitName, typer.Option("--split", help="Which split's cache.")]
LayerOption = Annotated[
    str | None, typer.Option("--layer", help="A cached layer; pool5 where it is cached, else the first.")
]
RegionLayerOption = Annotated[
    str | None, typer.Option("--layer", help="fc7 if none is named; or fc6, pool5: of R-CNN those that are cached.")
]
PngOption = Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Write the picture there.")]
HtmlOption = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write text and picture as one page.")]


def show(rendering: "Rendering", png: Path | None, html: Path | None) -> None:
    """Print the text, write what was asked for, and say where it is."""
    typer.echo(rendering.text())
    for file in rendering.write(png, html):
        typer.echo(f"wrote {file}")


def numbers(text: str | None, option: str) -> list[int] | None:
    """Return the numbers in ``text``, such as ``3,17,40-47``, in its order; None where ``option`` was not given.

    Raises:
        typer.BadParameter: ``text`` is of another form.
    """
    if text is None:
        return None
    found: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            found += range(int(first), int(last or first) + 1)
    except ValueError:
        raise typer.BadParameter(f"{text} is no list of numbers; 3,17,40-47 would be one.", param_hint=option) from None
    return list(dict.fromkeys(found))
