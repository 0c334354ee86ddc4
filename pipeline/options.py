"""The options of ``boxline predict``, ``compare`` and ``export``, and the way from an error to an exit code.

Modules of the project are imported inside the functions, so that ``--help`` answers at once.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperOption

ALL = "all"


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Print an `InputError` as one sentence without a traceback, and exit.

    The exit code is 1, the work failed, or 2, wrong use, where a name was given that does not exist.
    """
    from pipeline.core.errors import InputError
    from pipeline.core.runtime import print_any_text

    print_any_text()
    try:
        yield
    except InputError as error:
        from pipeline.presets import UnknownNameError

        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2 if isinstance(error, UnknownNameError) else 1) from None


class CommandOfSystems(TyperCommand):
    """A command whose help may name ``{systems}``, ``{exportable}`` ones, ``{trainings}`` and ``{thresholds}``."""

    def get_help(self, ctx: Any) -> str:
        """Return the help, with the systems that there are."""
        from pipeline.registry import all_systems

        names = {
            "systems": ", ".join(all_systems()),
            "exportable": " or ".join(exportable()),
            "trainings": "; ".join(f"{name} {', '.join(system.trainings)}" for name, system in all_systems().items()),
            "thresholds": ", ".join(f"{name} {system.shown_from:g}" for name, system in all_systems().items()),
        }
        for parameter in self.params:
            if isinstance(parameter, TyperOption | TyperArgument) and parameter.help:
                parameter.help = parameter.help.format(**names)
        return super().get_help(ctx)


def complete_system(incomplete: str) -> list[str]:
    """Return the names that a shell offers for `SystemOrAll`."""
    from pipeline.registry import all_systems

    return [name for name in (*all_systems(), ALL) if name.startswith(incomplete)]


def check_system(name: str) -> str:
    """Return ``name``, of a system or `ALL`.

    Raises:
        typer.BadParameter: it is neither.
    """
    from pipeline.registry import all_systems

    if name not in (*all_systems(), ALL):
        raise typer.BadParameter(f"no system is called {name!r}; there are {', '.join(all_systems())} and {ALL}.")
    return name


def check_systems(names: str | None) -> str | None:
    """Return ``names``, of systems, separated by commas.

    Raises:
        typer.BadParameter: one is the name of no system.
    """
    for name in split_names(names):
        if check_system(name) == ALL:
            raise typer.BadParameter(f"{ALL} is the default: leave the option out.")
    return names


def split_names(names: str | None) -> list[str]:
    """Return names that are separated by commas, each once."""
    return list(dict.fromkeys(name.strip() for name in names.split(","))) if names is not None else []


def exportable(incomplete: str = "") -> list[str]:
    """Return the systems that can be exported, those that start with ``incomplete``."""
    from pipeline.registry import all_systems

    return [name for name, system in all_systems().items() if system.onnx and name.startswith(incomplete)]


def check_exportable(name: str) -> str:
    """Return ``name``, of a system that can be exported.

    Raises:
        typer.BadParameter: it is not.
    """
    if name not in exportable():
        raise typer.BadParameter(f"{name!r} cannot be exported, only {', '.join(exportable())}.")
    return name


def check_device(name: str) -> None:
    """Check that this machine has the device; no callback, since it loads torch.

    Raises:
        typer.BadParameter: there is no such device.
    """
    from pipeline.core import runtime
    from pipeline.core.errors import InputError

    try:
        runtime.device(name)
    except InputError:
        message = f"{name!r} cannot be used here; auto or cpu always can."
        raise typer.BadParameter(message, param_hint="--device") from None


def check_format(name: str) -> None:
    """Check that ``name`` is a format of datasets; no callback, since it loads their readers.

    Raises:
        typer.BadParameter: it is none.
    """
    from pipeline.data.formats.recognise import AUTO, FORMATS

    if name not in (AUTO, *FORMATS):
        raise typer.BadParameter(f"{name!r} is none of {', '.join((AUTO, *FORMATS))}", param_hint="--source")


class Format(StrEnum):
    """How the tables of a comparison are printed."""

    TEXT = "text"
    MARKDOWN = "markdown"
    CSV = "csv"


SystemOrAll = Annotated[
    str,
    typer.Option(
        "--system",
        metavar=f"NAME|{ALL}",
        callback=check_system,
        autocompletion=complete_system,
        help="The detector: {systems} or " + f"{ALL}.",
    ),
]
Systems = Annotated[
    str | None,
    typer.Option("--systems", metavar="NAME,NAME", callback=check_systems, help="Only some of {systems}."),
]
Models = Annotated[Path, typer.Option("--models", metavar="DIR", help="The folder of models that `dvc repro` writes.")]
Device = Annotated[
    str,
    typer.Option("--device", metavar="auto|cpu|cuda", help="auto: a GPU where there is one, else the CPU."),
]
Images = Annotated[
    list[str],
    typer.Argument(metavar="IMAGE|FOLDER|GLOB", help="Images; a folder is searched with all folders below it."),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        metavar="T",
        show_default=False,
        help="The lowest score shown, for all classes. Default: for each class the score with its best F1 on the test "
        "split; where the models come without these: {thresholds}. docs/predicting.md says why.",
    ),
]
OutFolder = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        file_okay=False,
        help="Write images with boxes, VOC XML and detections.json (COCO) there; for all: in a folder per system.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the COCO results instead of a line for each image.")]
Revisions = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="REV",
        help="Commits, branches, tags, experiments or `workspace`. Default: HEAD, the workspace where it differs, and "
        "all experiments on top of HEAD.",
    ),
]
Baseline = Annotated[
    str | None, typer.Option("--baseline", metavar="REV", help="The revision to compare with. Default: the first.")
]
TableFormat = Annotated[Format, typer.Option("--format", help="How the tables are printed.")]
OutFile = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write the tables there instead of printing them.")
]
HtmlFile = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write a page with tables and curves as well.")
]
Dataset = Annotated[
    Path,
    typer.Argument(metavar="FOLDER", exists=True, help="Annotated images; docs/formats.md has the layouts."),
]
DataFormat = Annotated[
    str, typer.Option("--source", metavar="FORMAT", help="Read it as voc, coco, yolo, labelme, via or csv.")
]
SurveyFile = Annotated[
    Path | None,
    typer.Option(
        "--html",
        metavar="FILE",
        help="Write a page as well: sizes, images in two splits, pictures, and what training makes of the objects.",
    ),
]
PresetFile = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write the values there instead of printing them.")
]
Exportable = Annotated[
    str,
    typer.Argument(
        metavar="SYSTEM", callback=check_exportable, autocompletion=exportable, help="The detector: {exportable}."
    ),
]
OnnxFile = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="The file to write. Default: SYSTEM.onnx.")
]
