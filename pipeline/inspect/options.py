"""Options that the commands of the views share, and how such a command ends: text printed, picture and page written."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline.inspect.drawing import Rendering

DEFAULT_SYSTEM = "rcnn"


class SplitName(StrEnum):
    """The splits."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


def known_system(name: str | None) -> str | None:
    """Return ``name`` where it is a system's, or None where no system was named.

    Raises:
        typer.BadParameter: no system has this name.
    """
    from pipeline.registry import all_systems

    if name is not None and name not in all_systems():
        raise typer.BadParameter(f"no system is called {name}; there are {', '.join(all_systems())}.")
    return name


def systems_with_caches() -> list[str]:
    """Return the systems of which there are caches here, to complete what a person types."""
    return sorted(folder.name for folder in Path("features").glob("*/"))


SystemOption = Annotated[
    str,
    typer.Option(
        "--system",
        help="Whose cache: a folder below features, such as rcnn (warped regions) or sppnet (cells of maps).",
        callback=known_system,
        autocompletion=systems_with_caches,
    ),
]
SplitOption = Annotated[SplitName, typer.Option("--split", help="Which split's cache.")]
LayerOption = Annotated[
    str | None, typer.Option("--layer", help="A cached layer; pool5 where it is cached, else the first.")
]
RegionLayerOption = Annotated[
    str | None,
    typer.Option(
        "--layer", help="fc7, fc6 or pool5 (of warped regions, those that are cached); else the first of these."
    ),
]
PngOption = Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Write the picture there.")]
HtmlOption = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write text and picture as one page.")]


def show(rendering: "Rendering", png: Path | None, html: Path | None) -> None:
    """Print the text, write the picture and the page where files are named, and print their names."""
    typer.echo(rendering.text())
    for file in rendering.write(png, html):
        typer.echo(f"wrote {file}")


def numbers(text: str | None, option: str) -> list[int] | None:
    """Return the numbers in ``text``, such as ``3,17,40-47``, in its order; None where ``option`` was not given.

    Raises:
        typer.BadParameter: ``text`` has another form.
    """
    if text is None:
        return None
    listed: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            listed += range(int(first), int(last or first) + 1)
    except ValueError:
        raise typer.BadParameter(f"{text} is no list of numbers; 3,17,40-47 would be one.", param_hint=option) from None
    return list(dict.fromkeys(listed))
