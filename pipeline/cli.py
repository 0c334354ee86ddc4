"""The command ``boxline``. Exit codes: 0 done, 1 the work failed, 2 wrong use. Run it in the project's folder."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.compare.command import compare
from pipeline.inspect.commands import app as inspect_app
from pipeline.options import errors_as_sentences
from pipeline.predict.command import predict
from pipeline.registry import all_systems

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Six object detectors, R-CNN to SSD, as one DVC graph. `dvc repro` runs it; this command sets it up before "
    "and uses the detectors afterwards.",
)
app.add_typer(inspect_app, name="inspect")
# Modules of the project are imported inside the commands, so that --help answers at once.

PARAMS_FILE = Path("params.yaml")
PRESETS_FOLDER = Path("presets")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("boxline"))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def _complete_preset(incomplete: str) -> list[str]:
    return sorted(file.stem for file in PRESETS_FOLDER.glob(f"{incomplete}*.yaml"))


@app.command()
def preset(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="A preset; without one, the presets are listed.", autocompletion=_complete_preset
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set one parameter more; VALUE is YAML.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would change and write nothing.")] = False,
) -> None:
    """List presets, or lay one over params.yaml.

    The file keeps its comments; what changed is printed.
    """
    with errors_as_sentences():
        from pipeline import presets
        from pipeline.core import storage

        if name is None and not assignments:
            for known, summary in presets.available(PRESETS_FOLDER).items():
                typer.echo(f"{known:10} {summary}")
            return
        values = presets.read(PRESETS_FOLDER, name) if name is not None else {}
        values |= presets.assigned(assignments or [])
        result, changes = presets.lay_over(_read_params(), values, str(PARAMS_FILE))
        for change in changes:
            typer.echo(str(change))
        if not changes:
            typer.echo(f"{PARAMS_FILE} holds these values already.")
        elif dry_run:
            typer.echo("Nothing was written.")
        else:
            with storage.atomic(PARAMS_FILE) as temporary:
                temporary.write_text(result, encoding="utf-8", newline="\n")


@app.command()
def validate(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", exists=True, help="Images with annotations, in VOC or COCO layout.")
    ],
) -> None:
    """Check a folder of annotated images.

    As `dvc repro` would: objects are counted, each fault is named by file and line; nothing is written.
    """
    with errors_as_sentences():
        from pipeline.core.errors import InputError
        from pipeline.data.dataset import validate as check

        report = check(folder)
        typer.echo(report.table())
        if not report.ok:
            raise InputError(f"{folder}: cannot be used as it is; the problems are listed above.")


app.command()(errors_as_sentences()(predict))
app.command()(errors_as_sentences()(compare))


EXPORTABLE = tuple(name for name, system in all_systems().items() if system.onnx)


def _exportable(name: str) -> str:
    if name not in EXPORTABLE:
        raise typer.BadParameter(f"{name!r} cannot be exported; {', '.join(EXPORTABLE)} can.")
    return name


@app.command()
def export(
    system: Annotated[
        str,
        typer.Argument(
            metavar="|".join(EXPORTABLE),
            help="Which detector.",
            callback=_exportable,
            autocompletion=lambda incomplete: [name for name in EXPORTABLE if name.startswith(incomplete)],
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The file to write; SYSTEM.onnx if none is named.")
    ] = None,
) -> None:
    """Write a detector that is one network on squares as an ONNX file.

    Raw RGB squares in, boxes and scores out, any number of images at once.
    """
    with errors_as_sentences():
        from pipeline.registry import load
        from pipeline.systems.onnx_export import export_onnx
        from pipeline.systems.square import SquareDetector

        detector, target = load(system, "models", "cpu"), out or Path(f"{system}.onnx")
        assert isinstance(detector, SquareDetector)
        export_onnx(detector, target)
        side, classes = detector.side, len(detector.classes)
        typer.echo(
            f"{target}: images (N, 3, {side}, {side}), RGB from 0 to 255, to boxes (N, K, 4) in those pixels and"
        )
        typer.echo(f"scores (N, K, {classes}); without suppression. Side and classes are in the metadata.")


def _read_params() -> str:
    from pipeline.core.errors import InputError

    try:
        return PARAMS_FILE.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{PARAMS_FILE}: the file does not exist; run this in the project's folder.") from error


if __name__ == "__main__":
    app()
