"""The figures of the report without the page: Markdown to read or paste, CSV to work with, and a table to print.

CSV has one figure a row under ``table,row,figure,value``, shares from 0 to 1 and in full; Markdown rounds them.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.errors import TYPES
from pipeline.registry import all_systems
from pipeline.report.facts import folders, size
from pipeline.report.tables import number, percent
from pipeline.report.times import surroundings, time_rows

MEAN_APS = {"map_voc07": "mAP, 11 point", "map_voc": "mAP, area", "map_coco": "COCO AP"}
TITLES = {name: system.title for name, system in all_systems().items()}
NONE = "\N{EN DASH}"
SHARED = "shared"

Figures = Mapping[str, Mapping[str, Any]]
"""The content of one JSON file for each system or stage, by its name."""


@dataclass(frozen=True)
class Section:
    """One table: its name in CSV, its title and a sentence for Markdown, and its rows of figures.

    ``show`` turns one row into cells by column; ``titles`` are names of rows in print, where they have others.
    """

    name: str
    title: str
    note: str
    rows: Mapping[str, Mapping[str, Any]]
    show: Callable[[Mapping[str, Any]], dict[str, str]]
    titles: Mapping[str, str]


def sections(
    metrics: Figures,
    timing: Figures,
    costs: Figures,
    level: float,
    artifacts: Mapping[str, int] | None = None,
    versions: Mapping[str, str] | None = None,
) -> list[Section]:
    """Return the tables that have rows.

    Args:
        metrics: of each system (`pipeline.evaluation.metrics`), with ``intervals`` (`pipeline.evaluation.bootstrap`)
            where they are known.
        timing: of each system (`pipeline.timing`).
        costs: of each long stage (`pipeline.core.costs`).
        level: share of the samples inside the intervals.
        artifacts: bytes by path.
        versions: of what ran, by name (`report.facts.versions`).
    """
    every = [*_accuracy_sections(metrics, level), *_error_sections(metrics), *_time_sections(timing)]
    every += [*_cost_sections(costs), *_fact_sections(artifacts or {}, versions or {})]
    return [section for section in every if section.rows]


def as_markdown(heading: str, tables: Sequence[Section]) -> str:
    """Return all tables under one heading."""
    return "\n\n".join([f"# {heading}", *(_section_text(section) for section in tables)]) + "\n"


def as_csv(tables: Sequence[Section]) -> str:
    """Return all figures as CSV, one a row; the value of one that does not exist is empty."""
    rows = (
        (section.name, row, figure, value)
        for section in tables
        for row, figures in section.rows.items()
        for figure, value in figures.items()
    )
    return _csv(("table", "row", "figure", "value"), rows)


def accuracy_time(metrics: Figures, timing: Figures) -> str:
    """Return accuracy beside milliseconds an image as CSV, one row for each system that has both."""
    times = time_rows(timing)
    rows = (
        (TITLES[system], round(times[system].total, 1), figures["map_voc07"], figures["map_coco"])
        for system, figures in metrics.items()
        if system in times
    )
    return _csv(("system", "ms", "map_voc07", "map_coco"), rows)


def printed(metrics: Figures, timing: Figures) -> str:
    """Return the mean APs in percent, the first with its interval, and milliseconds an image as plain text."""
    times = time_rows(timing)
    lines = [f"{'':14}{'mAP, 11 point':>22}{'mAP, area':>12}{'COCO AP':>10}{'ms an image':>14}"]
    for system, figures in metrics.items():
        cells = [percent(figures[name]) for name in ("map_voc", "map_coco")]
        milliseconds = f"{times[system].total:.1f}" if system in times else NONE
        eleven_point = _with_interval(_accuracy(figures), "map_voc07")
        lines.append("{:14}{:>22}{:>12}{:>10}{:>14}".format(TITLES[system], eleven_point, *cells, milliseconds))
    return "\n".join(lines)


def _accuracy_sections(metrics: Figures, level: float) -> Iterable[Section]:
    accuracy = {system: _accuracy(figures) for system, figures in metrics.items()}
    note = f"Mean AP in percent; in brackets the {100 * level:g} % interval of a bootstrap over the test images."
    yield Section("accuracy", "Accuracy", note, accuracy, _show_accuracy, TITLES)

    classes = dict.fromkeys(name for figures in metrics.values() for name in figures["per_class"])
    per_class = {name: {system: m["per_class"].get(name) for system, m in metrics.items()} for name in classes}
    yield Section("per_class", "AP by class", "11-point AP in percent.", per_class, _show_systems, {})

    by_size = {system: figures["by_size"] for system, figures in metrics.items() if "by_size" in figures}
    note = "COCO AP in percent by area of the object: small up to 32 x 32 pixels, large from 96 x 96."
    yield Section("by_size", "AP by size", note, by_size, _percentages, TITLES)


def _error_sections(metrics: Figures) -> Iterable[Section]:
    top = {
        system: {TYPES[0]: m["correct"]} | {name: (1 - m["correct"]) * share for name, share in m["errors"].items()}
        for system, m in metrics.items()
    }
    note = "In percent of the best-scored detections of each class, as many as it has objects."
    yield Section("top_detections", "The top detections", note, _rounded(top), _percentages, TITLES)
    errors = {system: figures["errors"] for system, figures in metrics.items()}
    note = "In percent of the wrong ones among them: badly placed, similar class, other class, background."
    yield Section("errors", "Their errors", note, errors, _percentages, TITLES)


def _time_sections(timing: Figures) -> Iterable[Section]:
    rows = time_rows(timing)
    times = {system: {**row.phases, "total": row.total, "p95": row.p95} for system, row in rows.items()}
    note = f"Milliseconds by phase, medians, and the whole's 95th percentile; {'; '.join(surroundings(timing))}."
    yield Section("time_ms", "Time for an image", note, _rounded(times), _tenths, TITLES)
    ratios = {system: {"whole": row.speedup, "without_proposals": row.speedup_without} for system, row in rows.items()}
    note = "R-CNN's time over the system's, and the same without the making of proposals."
    yield Section("speedup", "Speed-up", note, _rounded(ratios), _tenths, TITLES)


def _cost_sections(costs: Figures) -> Iterable[Section]:
    makers = {stage: _system_of(stage) for stage in costs}
    whole = {
        owner: {
            name: round(sum(costs[stage].get(name, 0) for stage, own in makers.items() if own == owner), 1)
            for name in ("seconds", "cpu_seconds")
        }
        for owner in sorted(set(makers.values()), key=[SHARED, *all_systems()].index)
    }
    note = "Training and caching: sums over the long stages of each; `shared` is the making of proposals and backbone."
    yield Section("costs_by_system", "Cost by system", note, whole, _plain, TITLES)
    yield Section("costs", "Cost of the long stages", "", costs, _plain, {})


def _system_of(stage: str) -> str:
    return next((system for system in all_systems() if stage.startswith(f"{system}_")), SHARED)


def _fact_sections(artifacts: Mapping[str, int], versions: Mapping[str, str]) -> Iterable[Section]:
    sizes = {f"{each.name}/{entry}": {"bytes": n} for each in folders(artifacts) for entry, n in each.sizes.items()}
    yield Section("artifacts", "Artifacts", "", sizes, lambda row: {"size": size(row["bytes"])}, {})
    named = {name: {"version": text} for name, text in versions.items()}
    yield Section("versions", "Versions", "", named, _plain, {})


def _accuracy(figures: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the mean APs, each followed by the ends of its interval where that is known."""
    intervals = figures.get("intervals", {})
    row: dict[str, float | None] = {}
    for name in MEAN_APS:
        row[name] = figures[name]
        row |= {f"{name}_{end}": value for end, value in (intervals.get(name) or {}).items()}
    return row


def _show_accuracy(row: Mapping[str, Any]) -> dict[str, str]:
    return {title: _with_interval(row, name) for name, title in MEAN_APS.items()}


def _with_interval(row: Mapping[str, Any], name: str) -> str:
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return percent(row[name]) + (f" ({percent(low)}\N{EN DASH}{percent(high)})" if low is not None else "")


def _percentages(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: percent(value) for name, value in row.items()}


def _show_systems(row: Mapping[str, Any]) -> dict[str, str]:
    return {TITLES[system]: percent(value) for system, value in row.items()}


def _tenths(row: Mapping[str, Any]) -> dict[str, str]:
    return {name.replace("_", " "): NONE if value is None else f"{value:.1f}" for name, value in row.items()}


def _plain(row: Mapping[str, Any]) -> dict[str, str]:
    return {name.replace("_", " "): _word(value) for name, value in row.items()}


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else number(value)


def _rounded(rows: Mapping[str, Mapping[str, float | None]]) -> dict[str, dict[str, float | None]]:
    return {
        name: {key: None if value is None else round(value, 6) for key, value in row.items()}
        for name, row in rows.items()
    }


def _section_text(section: Section) -> str:
    shown = {name: section.show(row) for name, row in section.rows.items()}
    columns = list(dict.fromkeys(column for cells in shown.values() for column in cells))
    lines = [_line(["", *columns]), "|---" + "|---:" * len(columns) + "|"]
    lines += [
        _line([section.titles.get(name, name), *(cells.get(column, NONE) for column in columns)])
        for name, cells in shown.items()
    ]
    return "\n\n".join(part for part in (f"## {section.title}", section.note, "\n".join(lines)) if part)


def _line(cells: Iterable[str]) -> str:
    """Return a row of a table; a class name from somebody's data cannot break out of its cell."""
    escaped = (" ".join(cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split()) for cell in cells)
    return "| " + " | ".join(escaped) + " |"


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    stream = io.StringIO(newline="")
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(columns)
    table.writerows(rows)
    return stream.getvalue()
