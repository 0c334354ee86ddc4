"""``boxline predict``. The project's heavier modules are imported when it runs, so that --help answers at once."""

import sys
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.registry import all_systems

if TYPE_CHECKING:
    from pipeline.predict.pictures import Picture
    from pipeline.predict.predict import Errors
    from pipeline.predict.results import Listener

ALL = "all"
NAMES = (*all_systems(), ALL)


def complete_system(incomplete: str) -> list[str]:
    """Return the names that a shell offers."""
    return [name for name in NAMES if name.startswith(incomplete)]


def _known(name: str) -> str:
    if name not in NAMES:
        raise typer.BadParameter(f"no system is called {name!r}; there are {', '.join(NAMES)}.")
    return name


def predict(
    pictures: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE|FOLDER|GLOB", help="Pictures; a folder is searched with all below it."),
    ],
    system: Annotated[
        str,
        typer.Option(
            "--system",
            metavar="NAME|all",
            callback=_known,
            autocompletion=complete_system,
            help=f"The detector: {', '.join(NAMES)}.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            file_okay=False,
            help="Write pictures with boxes, VOC XML and detections.json (COCO) there; all: in a folder per system.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the COCO results instead of a line a picture.")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            metavar="T",
            show_default=False,
            help="The least score shown. Default: rcnn, sppnet 0 (SVM scores); yolo 0.2; others 0.5 (probabilities).",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", metavar="auto|cpu|cuda", help="auto: a GPU where there is one, else the CPU.")
    ] = "auto",
    models: Annotated[
        Path, typer.Option("--models", metavar="DIR", help="The folder of models that `dvc repro` writes.")
    ] = Path("models"),
) -> None:
    """Find objects in pictures of yours.

    Any file that Pillow reads will do, of any size and colour mode. A broken one is named on stderr and skipped, and
    the exit code is then 1. With neither --out nor --json, a line for each picture is printed.

    Example: boxline predict holiday/ --system ssd --out found
    """
    from pipeline.core.errors import InputError
    from pipeline.detector import Description
    from pipeline.predict.predict import Errors

    found = _find(pictures, out)
    _check_device(device)
    names = list(all_systems()) if system == ALL else [system]
    for name in names:
        Description.load(models / name, name)  # what is missing is said before the first picture, not hours later
    warnings.filterwarnings("ignore", module="PIL")  # odd metadata and the like: a picture is read, or named as broken
    errors, clean = Errors(), True
    try:
        for place, name in enumerate(names):
            if as_json and system == ALL:  # one object, the systems its keys
                sys.stdout.write(f'{"," if place else "{"}"{name}": ')
            below = out / name if out and system == ALL else out
            clean &= _run(name, models, device, found, threshold, below, as_json, errors)
        if as_json and system == ALL:
            sys.stdout.write("}\n")
    except OSError as error:
        raise InputError(f"{error.filename or out or 'stdout'}: cannot be written ({error.strerror}).") from error
    if not clean:
        raise typer.Exit(1)


def _run(
    name: str,
    models: Path,
    device: str,
    pictures: "Sequence[Picture]",
    threshold: float | None,
    out: Path | None,
    as_json: bool,
    errors: "Errors",
) -> bool:
    """Send all pictures through one system and say how it went; return whether all could be read."""
    from pipeline.predict.coco import CocoWriter
    from pipeline.predict.folder import folder
    from pipeline.predict.predict import Lines, predict
    from pipeline.registry import load

    detector = load(name, models, device)
    least = all_systems()[name].shown_from if threshold is None else threshold
    listeners: list[Listener] = [errors]
    with ExitStack() as stack:
        if out:
            listeners.append(stack.enter_context(folder(out, detector.classes)))
        if as_json:
            coco = CocoWriter(sys.stdout, detector.classes)
            stack.callback(coco.close)
            listeners.append(coco)
        elif not out:
            listeners.append(Lines(detector.classes))
        tally = predict(detector, pictures, least, listeners, keep_full=out is not None)
    print(f"{name}: {tally}{f'; see {out}' if out else ''}", file=sys.stderr)
    return tally.errors == 0


def _find(arguments: list[str], out: Path | None) -> "list[Picture]":
    from pipeline.predict.pictures import NothingThereError, find_pictures

    try:
        return find_pictures(arguments, leave_out=out)
    except NothingThereError as error:
        raise typer.BadParameter(str(error), param_hint="IMAGE|FOLDER|GLOB") from None


def _check_device(name: str) -> None:
    from pipeline.core import runtime
    from pipeline.core.errors import InputError

    try:
        runtime.device(name)
    except InputError:
        raise typer.BadParameter(
            f"{name!r} cannot be used here; auto or cpu always can.", param_hint="--device"
        ) from None
