"""The command ``boxline compare``: revisions of the project in the current folder, one beside the other."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline.compare.comparison import Comparison
    from pipeline.compare.revision import Revision


class Format(StrEnum):
    """How the tables are printed."""

    TEXT = "text"
    MARKDOWN = "markdown"
    CSV = "csv"


def compare(
    revisions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[REV]...",
            help="Commits, branches, tags, experiments or `workspace`; without any: HEAD, the workspace where it "
            "differs, and all experiments on top of HEAD.",
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", metavar="REV", help="Compare with this one; without: with the first.")
    ] = None,
    systems: Annotated[
        str | None, typer.Option("--systems", metavar="NAME,NAME", help="Only these systems, e.g. rcnn,sppnet.")
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="How the tables are printed.")] = Format.TEXT,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the tables here and print nothing.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with tables and curves as well.")
    ] = None,
) -> None:
    """Show what changed parameters did.

    Scores with intervals, times, bytes cached and the stages run again, of any commits and experiments.
    """
    from pipeline.compare.blocks import blocks
    from pipeline.compare.page import render
    from pipeline.compare.text import as_markdown, as_text
    from pipeline.compare.tidy import as_csv
    from pipeline.core.storage import atomic

    found = _compared(revisions or [], baseline, _names(systems))
    tables = blocks(found, ["map_voc07"])
    text = {
        Format.TEXT: lambda: as_text(tables),
        Format.MARKDOWN: lambda: as_markdown(tables),
        Format.CSV: lambda: as_csv(found),
    }[output]()
    written = {path: content for path, content in ((out, text), (page, render(found) if page else "")) if path}
    for path, content in written.items():
        with atomic(path) as temporary:
            temporary.write_text(content, encoding="utf-8", newline="\n")
    if out is None:
        typer.echo(text, nl=False)


def _compared(names: list[str], baseline: str | None, systems: list[str]) -> "Comparison":
    from pipeline.compare.comparison import compare as compare_revisions
    from pipeline.compare.project import WORKSPACE, default_names, read_revisions, reader
    from pipeline.compare.revision import Layout

    layout = Layout(
        params="params.yaml",
        pipeline="dvc.yaml",
        lock="dvc.lock",
        metrics="reports/metrics/{}.json",
        timing="reports/timing/{}.json",
        curves="reports/plots/{}_pr.csv",
        costs="reports/costs",
        detections="detections/{}.json",
        test_images="data/index/test.json",
        resampling={
            "iou": "evaluation.iou",
            "samples": "evaluation.bootstrap.samples",
            "level": "evaluation.bootstrap.level",
            "seed": "seed",
        },
        groups={name: name for name in ("data", "proposals", "features", "models", "detections")},
        without_effect=frozenset({"runtime"}),
    )
    wanted = [*([baseline] if baseline else []), *(names or default_names())]
    revisions = read_revisions(wanted, layout, systems)
    if not names and baseline != WORKSPACE:
        others = [revision for revision in revisions if revision.name != WORKSPACE]
        revisions = [r for r in revisions if r in others or not any(r.holds_the_same_as(other) for other in others)]
    with reader() as read:
        return compare_revisions(revisions, _baseline(revisions, baseline), systems, layout, read)


def _baseline(revisions: "list[Revision]", name: str | None) -> "Revision":
    from pipeline.core.errors import InputError

    first = next((r for r in revisions if not r.problem and name in (None, r.name)), None)
    if first is not None:
        return first
    problems = " ".join(f"{r.name}: {r.problem}" for r in revisions if name in (None, r.name))
    raise InputError(f"{'the baseline cannot' if name else 'none of the revisions can'} be read; {problems}")


def _names(systems: str | None) -> list[str]:
    from pipeline.registry import all_systems

    names = [name.strip() for name in systems.split(",")] if systems is not None else list(all_systems())
    for name in names:
        if name not in all_systems():
            raise typer.BadParameter(f"found {name!r}, expected names out of {', '.join(all_systems())}.")
    return list(dict.fromkeys(names))
