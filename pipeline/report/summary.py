"""The figures of the report without the page: Markdown to read or paste, CSV to work with, and a table to print.

CSV has one figure a row under ``table,row,figure,value``, shares from 0 to 1 and in full; Markdown rounds them.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.errors import TYPES
from pipeline.evaluation.systems import SYSTEMS
from pipeline.report.tables import number, percent
from pipeline.report.times import surroundings, time_rows

MEAN_APS = {"map_voc07": "mAP, 11 point", "map_voc": "mAP, area", "map_coco": "COCO AP"}
ACCURACY_TIME = ("system", "ms", "map_voc07", "map_coco")

Figures = Mapping[str, Mapping[str, Any]]
"""The content of one JSON file for each system or stage, by its name."""


@dataclass(frozen=True)
class Section:
    """One table: its name in CSV, its title and a sentence in Markdown, and its rows of figures.

    ``show`` turns one row into cells by column.
    """

    name: str
    title: str
    note: str
    rows: dict[str, dict[str, Any]]
    show: Callable[[Mapping[str, Any]], dict[str, str]]


def sections(metrics: Figures, timing: Figures, costs: Figures, level: float) -> list[Section]:
    """Return the tables that have rows.

    Args:
        metrics: of each system (`pipeline.evaluation.metrics`); keys that older files lack give no columns.
        timing: of each system (`pipeline.detectors.online.timing`).
        costs: of each stage (`pipeline.costs`).
        level: share of the samples inside the intervals.
    """
    every = [
        Section(
            "accuracy",
            "Accuracy",
            f"Mean AP in percent; in brackets the {percent(level)} % interval of a bootstrap over the test images.",
            {system: _accuracy(figures) for system, figures in metrics.items()},
            _show_accuracy,
        ),
        Section(
            "per_class",
            "AP by class",
            "11-point AP in percent.",
            {system: dict(figures["per_class"]) for system, figures in metrics.items()},
            _percentages,
        ),
        Section(
            "by_size",
            "AP by size",
            "COCO AP in percent by area of the object: small up to 32 x 32 pixels, large from 96 x 96.",
            {system: dict(figures["by_size"]) for system, figures in metrics.items() if "by_size" in figures},
            _percentages,
        ),
        Section(
            "top_detections",
            "The top detections",
            "The best-scored detections of each class, as many as it has objects, by type in percent.",
            {system: top_shares(figures) for system, figures in metrics.items()},
            _percentages,
        ),
        Section(
            "errors",
            "Errors",
            "The wrong ones among them in percent: badly placed, similar class, other class, background.",
            {system: dict(figures["errors"]) for system, figures in metrics.items()},
            _percentages,
        ),
        Section(
            "time",
            "Time for an image",
            f"Milliseconds, median and 95th percentile; {'; '.join(surroundings(timing))}.",
            _times(timing),
            _show_milliseconds,
        ),
        Section(
            "speedup",
            "Speed-up",
            "R-CNN's time over the system's, and the same without the making of proposals.",
            {
                system: {"whole": row.speedup, "without_proposals": row.speedup_without}
                for system, row in time_rows(timing).items()
            },
            _numbers,
        ),
        Section(
            "costs", "Cost of the long stages", "", {stage: dict(content) for stage, content in costs.items()}, _numbers
        ),
    ]
    return [section for section in every if section.rows]


def as_markdown(heading: str, tables: Sequence[Section]) -> str:
    """Return all tables under one heading, systems by their titles."""
    return "\n\n".join([f"# {heading}", *(_section_text(section) for section in tables)]) + "\n"


def as_csv(tables: Sequence[Section]) -> str:
    """Return all figures as CSV, one a row; one that does not exist is empty."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["table", "row", "figure", "value"])
    for section in tables:
        writer.writerows(
            [section.name, row, figure, value]
            for row, figures in section.rows.items()
            for figure, value in figures.items()
        )
    return stream.getvalue()


def accuracy_time(metrics: Figures, timing: Figures) -> str:
    """Return accuracy beside time as CSV, columns `ACCURACY_TIME`, a row for each system that has both."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(ACCURACY_TIME)
    for system in metrics:
        if system in timing:
            figures, row = metrics[system], time_rows(timing)[system]
            writer.writerow([SYSTEMS[system].title, round(row.total, 1), figures["map_voc07"], figures["map_coco"]])
    return stream.getvalue()


def printed(metrics: Figures, timing: Figures) -> str:
    """Return the mean APs in percent, the first with its interval, and milliseconds an image as plain text."""
    times = time_rows(timing)
    lines = [f"{'':14}{'mAP, 11 point':>22}{'mAP, area':>12}{'COCO AP':>10}{'ms an image':>14}"]
    for system, figures in metrics.items():
        accuracy = _accuracy(figures)
        eleven_point = _with_interval(accuracy, "map_voc07")
        others = [percent(accuracy[key]) for key in ("map_voc", "map_coco")]
        milliseconds = f"{times[system].total:.1f}" if system in times else "\N{EN DASH}"
        lines.append("{:14}{:>22}{:>12}{:>10}{:>14}".format(SYSTEMS[system].title, eleven_point, *others, milliseconds))
    return "\n".join(lines)


def top_shares(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return the shares of the five types among the top N detections, from the metrics of one system."""
    correct = figures["correct"]
    return {TYPES[0]: correct} | {name: (1 - correct) * share for name, share in figures["errors"].items()}


def _accuracy(figures: Mapping[str, Any]) -> dict[str, float | None]:
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


def _times(timing: Figures) -> dict[str, dict[str, Any]]:
    return {system: {**row.phases, "total": row.total, "p95": row.p95} for system, row in time_rows(timing).items()}


def _percentages(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: percent(value) for name, value in row.items()}


def _show_milliseconds(row: Mapping[str, Any]) -> dict[str, str]:
    return {name.replace("_", " "): "\N{EN DASH}" if value is None else f"{value:.1f}" for name, value in row.items()}


def _numbers(row: Mapping[str, Any]) -> dict[str, str]:
    return {name.replace("_", " "): _number_or_word(value) for name, value in row.items()}


def _number_or_word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else number(value)


def _section_text(section: Section) -> str:
    shown = {name: section.show(row) for name, row in section.rows.items()}
    columns = list(dict.fromkeys(column for cells in shown.values() for column in cells))
    lines = ["| " + " | ".join(["", *map(_escaped, columns)]) + " |", "|---" + "|---:" * len(columns) + "|"]
    for name, cells in shown.items():
        title = SYSTEMS[name].title if name in SYSTEMS else name
        lines.append("| " + " | ".join([title, *(_escaped(cells.get(column, "")) for column in columns)]) + " |")
    return "\n\n".join(part for part in (f"## {section.title}", section.note, "\n".join(lines)) if part)


def _escaped(text: str) -> str:
    """Return a cell in which a class name from somebody's data cannot break the table."""
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split())
