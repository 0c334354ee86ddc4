"""A comparison as tables, one for each question, printed as text, Markdown or CSV; the page lays out the same ones."""

import csv
import io
import json
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from pipeline.compare.comparison import (
    ABSENT,
    WITHOUT_EFFECT,
    Change,
    Comparison,
    Duration,
    Group,
    Row,
    StageRun,
)
from pipeline.compare.revisions import Revision
from pipeline.compare.scores import Interval, Score, Spread, Verdict
from pipeline.compare.seeds import seed
from pipeline.evaluation.measures import MEASURES
from pipeline.registry import all_systems

WIDTH = 120
# Of the revisions' names in text, longer ones are broken; leaves room for six mean APs with their intervals.
NAME_WIDTH = 24
TITLES = {
    "map_voc07": "mAP, VOC 11 point",
    "map_voc": "mAP, VOC area under the curve",
    "map_coco": "AP, COCO .50 to .95",
    "localisation_error_top1": "Localisation error, one guess (less is better)",
    "localisation_error_top5": "Localisation error, five guesses",
    "classification_error_top1": "Classification error, one guess",
    "classification_error_top5": "Classification error, five guesses",
}
LEADING = ("map_voc07", "localisation_error_top1")
"""Of each task, the measure that is printed."""
MARKS = {
    Verdict.SAME: "=",
    Verdict.UNCLEAR: "~",
    Verdict.CLEAR: "*",
    Verdict.UNAVAILABLE: "?",
    Verdict.OTHER_TEST: "!",
    Verdict.OTHER_MACHINE: "!",
}
SCORES_NOTE = (
    "= the same detections, byte for byte; ~ the interval of the change includes 0, so it may be chance; * it does "
    "not: more than another draw of test images explains; ? no verdict, detections not at hand; ! not comparable, "
    "other test images, other rules or made on another machine. The interval of a change comes from the same draws of "
    "images for both. At 95 %, about one comparison in twenty gets a * by chance where nothing changed. "
)
ONE_SEED_NOTE = "No interval covers another seed of the training."
SEEDS_NOTE = (
    "Runs that differ in the seed alone are one group: their mean, ± the deviation of one run. A change of the mean is "
    "taken over the seeds that both sides have; * where neither interval includes 0, that over draws of the test "
    "images and the t-interval over the seeds. A run of a single seed is judged by the test images alone."
)
TIMES_NOTE = (
    "Median over the timed images, one at a time. A system is timed again when a stage before it or any detector's "
    "code changes; load on the machine moves the figure by some percent. ! another device or number of threads."
)
BYTES_NOTE = "As the locks have them. DVC keeps equal content once: the last column is what the cache grows by."
STAGES_NOTE = (
    "Stages whose command, inputs, parameters or results in the lock differ from the baseline's. Seconds are what the "
    "stage recorded when it made these results; without: none recorded, or lost from the cache. >= an earlier, "
    "interrupted run had done a part."
)
NONE = "-"


@dataclass(frozen=True)
class Table:
    """One table. The first column names the revision; a cell may have several lines.

    Attributes:
        title: its subject.
        columns: their heads.
        rows: cells, as many as columns.
        note: how to read it, may be empty.
        prose: whether the last column holds words, which may be wrapped.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    prose: bool = False


def tables(comparison: Comparison, metrics: Sequence[str]) -> list[Table]:
    """Return the tables: parameters, each of ``metrics`` that a system is judged by, time for an image, bytes, stages.

    Args:
        comparison: what they show.
        metrics: measures of any task, in this order.
    """
    remarks = [[row.revision.label, "\n".join(_remarks(row, comparison))] for row in comparison.rows]
    columns = ["revision", "parameters that differ from the baseline's"]
    judged = [metric for metric in metrics if _judged_by(metric, comparison.systems)] or metrics[:1]
    scores = [_scores(comparison, metric) for metric in judged]
    return [
        Table(f"Compared with {comparison.baseline.label}", columns, remarks, prose=True),
        *scores[:-1],
        replace(scores[-1], note=_scores_note(comparison)),  # one legend serves all
        _times(comparison),
        _bytes(comparison),
        _stages(comparison),
    ]


def reasons(row: Row) -> Table:
    """Return why each stage of one revision ran, and its time."""
    rows = [[run.stage, _seconds(run) or "not recorded", run.reason] for run in row.runs]
    return Table(row.revision.label, ["stage", "time", "difference from the baseline"], rows, prose=True)


def as_text(tables: Sequence[Table]) -> str:
    """Return the tables one below the other, no line longer than `WIDTH`; a wide one continues below itself."""
    stream = io.StringIO()
    console = Console(file=stream, width=WIDTH, color_system=None, highlight=False, markup=False, emoji=False)
    for table in tables:
        console.print(f"{table.title}\n{'-' * len(table.title)}")
        for columns in _parts(table):
            grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0))
            for column in columns:
                wrapped = column == 0 or (table.prose and column == len(table.columns) - 1)
                grid.add_column(
                    table.columns[column],
                    overflow="fold",
                    no_wrap=not wrapped,
                    max_width=None if column else NAME_WIDTH,
                )
            for row in table.rows:
                grid.add_row(*(row[column] for column in columns))
            console.print(grid)
            if columns[-1] < len(table.columns) - 1:
                console.print()
        console.print(f"{textwrap.fill(table.note, WIDTH)}\n" if table.note else "")
    return "\n".join(line.rstrip() for line in stream.getvalue().strip().splitlines()) + "\n"


def as_markdown(tables: Sequence[Table]) -> str:
    """Return the tables as GitHub's Markdown draws them."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(_escaped(cell).replace("\n", "<br>") for cell in cells) + " |"

    blocks = []
    for table in tables:
        grid = [line(table.columns), "|" + "---|" * len(table.columns), *map(line, table.rows)]
        blocks += [f"### {table.title}", "\n".join(grid), *([_escaped(table.note)] if table.note else [])]
    return "\n\n".join(blocks) + "\n"


def as_csv(comparison: Comparison) -> str:
    """Return one line for each figure: revision, kind, name, value, low, high; docs/comparing-runs.md has the kinds."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["revision", "kind", "name", "value", "low", "high"])
    baseline = {change.key: value_text(change.old) for row in comparison.rows for change in row.changes}
    for group in comparison.groups:
        figures = [(row, figure) for row in group.rows for figure in _figures(row, baseline)]
        for row, figure in [*figures, *((group.rows[0], figure) for figure in _seed_figures(group))]:
            writer.writerow([row.revision.name, *figure, *[""] * (5 - len(figure))])
    return stream.getvalue()


def value_text(value: Any) -> str:
    """Return a parameter's value in at most 40 letters; a section as the number of its keys."""
    if value is ABSENT:
        return "absent"
    if isinstance(value, Mapping):
        return f"({len(value)} key{'' if len(value) == 1 else 's'})"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."


def size_text(size: int) -> str:
    """Return bytes in decimal units."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} B"


def _remarks(row: Row, comparison: Comparison) -> list[str]:
    revision = row.revision
    if revision.problem:
        return [revision.problem]
    lines = [_change(change) for change in row.changes]
    if not lines:
        lines = ["baseline" if revision is comparison.baseline else "none"]
    if moved := _with_verdict(row, comparison, Verdict.OTHER_MACHINE):
        here, there = (_machines(r, comparison.systems) for r in (revision, comparison.baseline))
        lines.append(f"{', '.join(moved)}: made on {here}; the baseline on {there}. Shown, not compared.")
    if unjudged := _with_verdict(row, comparison, Verdict.UNAVAILABLE):
        missing = "detections or test images' index not at hand, here or there."
        lines.append(f"No verdict on {', '.join(unjudged)}: {missing}")
    if not revision.metrics:
        lines.append("No metrics: nothing was evaluated here.")
    if outdated := revision.outdated():
        names = ", ".join(outdated[:3]) + (f" and {len(outdated) - 3} more" if len(outdated) > 3 else "")
        lines.append(f"Figures are older than params.yaml: `dvc repro` has yet to run {names}.")
    return lines


def _with_verdict(row: Row, comparison: Comparison, verdict: Verdict) -> list[str]:
    """Return the titles of the systems that a row has a verdict on."""
    return [
        all_systems()[system].title
        for system in comparison.systems
        if any(scores[system].verdict is verdict for scores in row.scores.values() if system in scores)
    ]


def _machines(revision: Revision, systems: Sequence[str]) -> str:
    machines = dict.fromkeys(one for system in systems for one in revision.made_on.get(system, ()))
    return "; ".join(machines) or "an unrecorded machine"


def _change(change: Change) -> str:
    note = " (changes no result)" if change.key.split(".")[0] in WITHOUT_EFFECT else ""
    return f"{change.key}: {value_text(change.old)} -> {value_text(change.new)}{note}"


def _scores(comparison: Comparison, metric: str) -> Table:
    title = f"{TITLES[metric]}: percent and its {100 * comparison.level:g} % interval; change and its own"
    systems = _judged_by(metric, comparison.systems)
    rows = [cells for group in comparison.groups for cells in _group_scores(group, metric, systems)]
    return Table(title, _columns(systems), rows)


def _judged_by(metric: str, systems: Sequence[str]) -> list[str]:
    """Return those of ``systems`` whose task has the measure ``metric``."""
    return [name for name in systems if metric in MEASURES[all_systems()[name].task].names]


def _scores_note(comparison: Comparison) -> str:
    return SCORES_NOTE + (SEEDS_NOTE if any(group.spreads for group in comparison.groups) else ONE_SEED_NOTE)


def _group_scores(group: Group, metric: str, systems: Sequence[str]) -> Iterator[list[str]]:
    """Yield the rows of a group: of several seeds the mean and its change, and below it each run's own score."""
    if spreads := group.spreads.get(metric, {}):
        number = max(spread.seeds for spread in spreads.values())
        lines: Mapping[str, Callable[[Spread], str]] = {
            f"{group.rows[0].revision.name}, {number} seeds": _mean,
            "  change of the mean": _change_of_mean,
            "  over test images": lambda spread: _limits(spread.over_images),
            "  over seeds": lambda spread: _limits(spread.over_seeds),
        }
        for name, line in lines.items():
            cells = [line(spreads[system]) if system in spreads else "" for system in systems]
            if any(cells):
                yield [name, *cells]
    for row in group.rows:
        found = row.scores.get(metric, {})
        name = f"  seed {seed(row.revision)}: {row.revision.name}" if spreads else row.revision.label
        judged = {system for system, spread in spreads.items() if spread.verdict}
        yield [name, *(_score(found.get(system), judged=system in judged) for system in systems)]


def _times(comparison: Comparison) -> Table:
    title = "Time for an image: ms, change"
    rows = [
        [row.revision.label, *(_duration(row.times.get(system)) for system in comparison.systems)]
        for row in comparison.rows
    ]
    return Table(title, _columns(comparison.systems), rows, TIMES_NOTE)


def _columns(systems: Sequence[str]) -> list[str]:
    return ["revision", *(all_systems()[name].title for name in systems)]


def _score(score: Score | None, *, judged: bool) -> str:
    """Return a score and its change; where the mean over seeds is ``judged``, without the change."""
    if score is None:
        return NONE
    text = f"{100 * score.value:.1f}"
    if score.interval:
        text += " {:.1f}-{:.1f}".format(*(100 * limit for limit in score.interval))
    if score.verdict is None or judged:
        return text
    lines = [text, _marked(score.difference, score.verdict), _limits(score.difference_interval)]
    return "\n".join(filter(None, lines))


def _mean(spread: Spread) -> str:
    return f"{100 * spread.mean:.1f} ± {100 * spread.deviation:.1f}"


def _change_of_mean(spread: Spread) -> str:
    return "" if spread.verdict is None else _marked(spread.difference, spread.verdict)


def _marked(difference: float | None, verdict: Verdict) -> str:
    change = "" if difference is None or verdict is Verdict.SAME else f"{100 * difference:+z.1f} "
    return f"{change}{MARKS[verdict]}"


def _limits(interval: Interval | None) -> str:
    return "{:+z.1f} to {:+z.1f}".format(*(100 * limit for limit in interval)) if interval else ""


def _duration(time: Duration | None) -> str:
    if time is None:
        return NONE
    change = f" {100 * (time.ratio - 1):+.0f} %" if time.ratio not in (None, 1) else ""
    return f"{time.milliseconds:.1f}{' !' if time.elsewhere else change}"


def _bytes(comparison: Comparison) -> Table:
    groups = list(dict.fromkeys(group for row in comparison.rows for group in row.bytes))
    rows = []
    for row in comparison.rows:
        sizes = [size_text(row.bytes[group]) if group in row.bytes else NONE for group in groups]
        total = size_text(sum(row.bytes.values())) if row.bytes else NONE
        own = row.revision is comparison.baseline or row.elsewhere or not row.bytes
        added = NONE if own else size_text(row.added_bytes)
        rows.append([row.revision.label, *sizes, total, added])
    return Table("Bytes cached", ["revision", *groups, "all", "not in baseline"], rows, BYTES_NOTE)


def _stages(comparison: Comparison) -> Table:
    rows = []
    for row in comparison.rows:
        recorded = [run.seconds for run in row.runs if run.seconds is not None]
        total = f"{sum(recorded):.1f}" if recorded else NONE
        names = ", ".join(" ".join(filter(None, [run.stage, _seconds(run)])) for run in row.runs)
        known = row.revision.stages and not row.elsewhere
        cells = [str(len(row.runs)), total, names or "none"] if known else [NONE, NONE, NONE]
        if row.revision is not comparison.baseline:
            rows.append([row.revision.label, *cells])
    return Table("Stages run again", ["revision", "number", "seconds", "stages"], rows, STAGES_NOTE, prose=True)


def _seconds(run: StageRun) -> str:
    return "" if run.seconds is None else f"{'>= ' if run.resumed else ''}{run.seconds:.1f} s"


def _parts(table: Table) -> list[list[int]]:
    """Deal the columns out to grids that fit, each led by the first column."""
    if table.prose:
        return [list(range(len(table.columns)))]
    parts, used = [[0]], NAME_WIDTH
    for column in range(1, len(table.columns)):
        cells = [table.columns[column], *(row[column] for row in table.rows)]
        width = 2 + max(len(line) for cell in cells for line in cell.split("\n"))
        if used + width > WIDTH:
            parts.append([0])
            used = NAME_WIDTH
        parts[-1].append(column)
        used += width
    return parts


def _escaped(text: str) -> str:
    for letter in "\\|*_~<":
        text = text.replace(letter, f"\\{letter}")
    return text


def _figures(row: Row, baseline: Mapping[str, str]) -> Iterator[tuple[object, ...]]:
    """Yield kind, name, value and, where there is one, an interval; ``baseline`` holds all parameters that differ."""
    if row.revision.problem:
        yield "problem", "", row.revision.problem
        return
    yield "commit", "", row.revision.commit
    for key, value in {**baseline, **{change.key: value_text(change.new) for change in row.changes}}.items():
        yield "param", key, value
    for metric, scores in row.scores.items():
        for system, score in scores.items():
            name = f"{system}.{metric}"
            yield "metric", name, score.value, *(score.interval or ())
            if score.difference is not None:
                yield "change", name, round(score.difference, 6), *(score.difference_interval or ())
            if score.verdict is not None:
                yield "verdict", name, score.verdict
    for system, time in row.times.items():
        yield "milliseconds", system, round(time.milliseconds, 3)
    for group, size in row.bytes.items():
        yield "bytes", group, size
    yield "bytes", "added", row.added_bytes
    for run in row.runs:
        yield "stage", run.stage, run.seconds


def _seed_figures(group: Group) -> Iterator[tuple[object, ...]]:
    """Yield the same of what several seeds have in common."""
    for metric, spreads in group.spreads.items():
        for system, spread in spreads.items():
            name = f"{system}.{metric}"
            yield "seeds", name, spread.seeds
            yield "mean", name, round(spread.mean, 6)
            yield "deviation", name, round(spread.deviation, 6)
            if spread.difference is not None:
                yield "mean change", name, round(spread.difference, 6), *(spread.over_images or ())
                yield "mean change over seeds", name, round(spread.difference, 6), *_rounded(spread.over_seeds)
            if spread.verdict is not None:
                yield "mean verdict", name, spread.verdict


def _rounded(interval: Interval | None) -> tuple[float, ...]:
    return tuple(round(limit, 6) for limit in interval or ())
