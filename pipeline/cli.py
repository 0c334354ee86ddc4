"""The command ``boxline``. Exit codes: 0 done, 1 the work failed, 2 wrong use. Run it in the project's folder."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pipeline.options import (
    ALL,
    Baseline,
    CommandOfSystems,
    DataFormat,
    Dataset,
    Device,
    Exportable,
    Format,
    HtmlFile,
    Images,
    Json,
    Models,
    OnnxFile,
    OutFile,
    OutFolder,
    PresetFile,
    Revisions,
    SurveyFile,
    SystemOrAll,
    Systems,
    TableFormat,
    Threshold,
    check_device,
    check_format,
    errors_as_sentences,
    split_names,
)


class InspectGroup(TyperGroup):
    """The commands of `pipeline.inspect`, loaded when one of them or their list is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the views."""
        return list(self._load())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of a view, None where there is no such view."""
        return self._load().get(cmd_name)

    def _load(self) -> dict[str, Any]:
        from pipeline.inspect.commands import app

        group = typer.main.get_command(app)
        assert isinstance(group, TyperGroup)
        return dict(group.commands)


app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Six object detectors, R-CNN to SSD, as one DVC graph. `dvc repro` runs it; this command sets it up before "
    "and uses the detectors afterwards.",
)
app.add_typer(
    typer.Typer(
        cls=InspectGroup,
        no_args_is_help=True,
        help="Look into cached features, training batches and detections.\n\n"
        "Text is printed; --png FILE writes a picture, --html FILE a page with both.",
    ),
    name="inspect",
)
cache_app = typer.Typer(
    no_args_is_help=True,
    help="List or remove caches that nothing refers to.\n\nThose of features and maps on the object store "
    "(`runtime.store`), and what interrupted stages left.",
)
app.add_typer(cache_app, name="cache")
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
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME|FILE]...",
            help="A preset, or a .yaml file like one; later ones count. Without any, the presets are listed.",
            autocompletion=_complete_preset,
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set one parameter more; VALUE is YAML.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would change and write nothing.")] = False,
) -> None:
    """List presets, or lay some over params.yaml.

    The file keeps its comments; what changed is printed.
    """
    with errors_as_sentences():
        from pipeline import params, presets
        from pipeline.core import storage

        if not names and not assignments:
            for known, summary in presets.available(PRESETS_FOLDER).items():
                typer.echo(f"{known:10} {summary}")
            return
        values: presets.Values = {}
        for name in names or []:
            values |= presets.read(PRESETS_FOLDER, name)
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
        if not dry_run:
            for network in params.unused_backbones(params.load()):
                typer.echo(
                    f"no listed system starts from backbones.{network}; dvc repro makes it all the same", err=True
                )


@app.command()
def validate(
    folder: Dataset,
    source: DataFormat = "auto",
    page: SurveyFile = None,
) -> None:
    """Check a folder of annotated images.

    As `dvc repro` would: the layout is recognised, objects are counted, each fault is named by file and line; nothing
    is written but the page that --html asks for.
    """
    with errors_as_sentences():
        from pipeline.core.errors import InputError
        from pipeline.data.dataset import check
        from pipeline.survey.reach import chosen_params

        check_format(source)
        chosen = chosen_params(folder, PRESETS_FOLDER) if page else None
        dataset = check(folder, source=source)
        typer.echo(dataset.report.table())
        if not dataset.report.ok:
            raise InputError(f"{folder}: cannot be used as it is; the problems are listed above.")
        if page and chosen:
            from pipeline.survey.page import render

            _write(page, render(dataset, folder, *chosen))


@app.command()
def fit(folder: Dataset, source: DataFormat = "auto", out: PresetFile = None) -> None:
    """Propose parameters that fit your objects.

    Anchors, default boxes, image sizes, limits and lengths of schedules, each with the figure that it follows from: a
    file to lay over the preset `folder`. Nothing is written without --out.

    Example: boxline fit pictures/ --out fitted.yaml, then boxline preset folder fitted.yaml
    """
    with errors_as_sentences():
        from pipeline.survey.fit import fit as fitted

        check_format(source)
        text = fitted(folder, source, PRESETS_FOLDER, out or Path("fitted.yaml"))
        if out:
            _write(out, text)
        else:
            typer.echo(text, nl=False)


@app.command(cls=CommandOfSystems)
def predict(
    images: Images,
    system: SystemOrAll,
    out: OutFolder = None,
    as_json: Json = False,
    threshold: Threshold = None,
    device: Device = "auto",
    models: Models = Path("models"),
) -> None:
    """Find objects in images of yours.

    Any file that Pillow reads will do, of any size and colour mode. A broken one is named on stderr and skipped, and
    the exit code is then 1. With neither --out nor --json, a line for each image is printed.

    Example: boxline predict holiday/ --system ssd --out found
    """
    with errors_as_sentences():
        from pipeline.predict.pictures import NoPictureError, find_pictures
        from pipeline.predict.predict import predict as predict_all
        from pipeline.registry import all_systems

        try:
            pictures = find_pictures(images, exclude=out)
        except NoPictureError as error:
            raise typer.BadParameter(str(error), param_hint="IMAGE|FOLDER|GLOB") from None
        check_device(device)
        names = list(all_systems()) if system == ALL else [system]
        if not predict_all(
            pictures,
            names,
            models,
            device,
            threshold=threshold,
            out=out,
            as_json=as_json,
            by_system=system == ALL,
        ):
            raise typer.Exit(1)


@app.command(cls=CommandOfSystems)
def compare(
    revisions: Revisions = None,
    baseline: Baseline = None,
    systems: Systems = None,
    output: TableFormat = Format.TEXT,
    out: OutFile = None,
    page: HtmlFile = None,
) -> None:
    """Show what changed parameters did.

    Scores with intervals, times, bytes cached and the stages that ran again, of any commits and experiments.
    """
    with errors_as_sentences():
        from pipeline.compare.comparison import compare as compare_revisions
        from pipeline.compare.page import render
        from pipeline.compare.tables import LEADING, as_csv, as_markdown, as_text, tables
        from pipeline.registry import all_systems

        comparison = compare_revisions(revisions or [], baseline, split_names(systems) or list(all_systems()))
        shown = tables(comparison, LEADING)
        if output is Format.CSV:
            text = as_csv(comparison)
        else:
            text = as_markdown(shown) if output is Format.MARKDOWN else as_text(shown)
        if page:
            _write(page, render(comparison))
        if out:
            _write(out, text)
        else:
            typer.echo(text, nl=False)


@app.command(cls=CommandOfSystems)
def export(system: Exportable, out: OnnxFile = None) -> None:
    """Write a detector that is one network on squares as an ONNX file.

    Raw RGB squares in, boxes and scores out, any number of images at once.
    """
    with errors_as_sentences():
        from pipeline.registry import load
        from pipeline.systems.onnx_export import export_onnx
        from pipeline.systems.square_detector import SquareDetector

        detector, target = load(system, "models", "cpu"), out or Path(f"{system}.onnx")
        assert isinstance(detector, SquareDetector)
        export_onnx(detector, target)
        side, classes = detector.side, len(detector.classes)
        typer.echo(
            f"{target}: images (N, 3, {side}, {side}), RGB from 0 to 255, to boxes (N, K, 4) in those pixels and"
        )
        typer.echo(f"scores (N, K, {classes}); without suppression. Side, classes and thresholds are in the metadata.")


def _write(file: Path, text: str) -> None:
    from pipeline.core.storage import atomic

    with atomic(file) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _read_params() -> str:
    from pipeline.core.errors import InputError

    try:
        return PARAMS_FILE.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{PARAMS_FILE}: the file does not exist; run this in the project's folder.") from error


if __name__ == "__main__":
    app()


@cache_app.command("list")
def list_caches() -> None:
    """List caches with their sizes and who refers to them: branches, tags, experiments, the workspace.

    What an interrupted stage left counts as referred to where the stage would resume from it.
    """
    with errors_as_sentences():
        from pipeline.caches import caches, table
        from pipeline.params import load

        typer.echo(table(caches(load(PARAMS_FILE).runtime.store)))


@cache_app.command("prune")
def prune_caches(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be removed and remove nothing.")] = False,
    hours: Annotated[
        float,
        typer.Option(min=0, metavar="N", help="Leave what was written to in the last N hours: perhaps by another."),
    ] = 24,
) -> None:
    """Remove caches that nothing here refers to.

    Other clones that use the same PREFIX of a store are not asked: give each project its own.
    """
    with errors_as_sentences():
        from pipeline.caches import caches, remove, table, unused
        from pipeline.params import load

        store = load(PARAMS_FILE).runtime.store
        found = unused(caches(store), hours)
        typer.echo(table(found))
        if not found or dry_run or not (yes or typer.confirm(f"Remove {len(found)} caches?")):
            return
        for cache in found:
            remove(cache, store)
            typer.echo(f"removed {cache.place}")
