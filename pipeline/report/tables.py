"""The figures of the report as rows, and as Markdown to read, CSV to work with and a table to print.

CSV has one figure a row under ``table,row,figure,value``, shares from 0 to 1 and in full; Markdown rounds them.
"""

import csv
import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.clock import PHASES
from pipeline.data.index import Index
from pipeline.evaluation.errors import TYPES
from pipeline.report.results import SHARED, Figures, Results, flat

MEAN_APS = {"map_voc07": "mAP, 11 point", "map_voc": "mAP, area", "map_coco": "COCO AP"}
DASH = "\N{EN DASH}"


def percent(value: float | None) -> str:
    """Return a share as a percentage with one decimal, a dash for a figure that does not exist."""
    return DASH if value is None else f"{100 * value:.1f}"


def number(value: float | None) -> str:
    """Return a figure of any kind with up to four significant digits, whole numbers in full."""
    if value is None:
        return DASH
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def figure_text(value: Any) -> str:
    """Return a figure, a word or a yes or no for print."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if value is None or isinstance(value, int | float) else str(value)


def milliseconds(value: float | None) -> str:
    """Return a time in milliseconds with one decimal, a dash for one that does not exist."""
    return DASH if value is None else f"{value:,.1f}"


def duration(seconds: float) -> str:
    """Return a time with three significant digits, in milliseconds below a second."""
    return f"{seconds:.3g} s" if seconds >= 0.9995 else f"{1e3 * seconds:.3g} ms"


def times(value: float | None) -> str:
    """Return a speed-up, a dash for one that does not exist."""
    return DASH if value is None else f"{value:.1f}\N{MULTIPLICATION SIGN}"


def size(count: int) -> str:
    """Return bytes in kB, MB or GB of a thousand each."""
    for unit, least in (("GB", 1e9), ("MB", 1e6)):
        if count >= 0.9995 * least:
            return f"{count / least:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"


def interval(figures: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """Return the interval of a mean AP, low and high; None where the metrics have none."""
    ends = (figures.get("intervals") or {}).get(name)
    return None if ends is None or None in ends.values() else (ends["low"], ends["high"])


def top_shares(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return the shares of the five `TYPES` among the top N detections, from the metrics of one system."""
    correct = figures["correct"]
    return {TYPES[0]: correct} | {name: (1 - correct) * share for name, share in figures["errors"].items()}


@dataclass(frozen=True)
class SplitRow:
    """Images, objects and ignored objects of one split; objects are counted without the ignored ones."""

    split: str
    images: int
    objects: int
    ignored: int


def split_rows(indices: Mapping[str, Index]) -> list[SplitRow]:
    """Return a row for each split."""
    return [
        SplitRow(
            split,
            images=len(index.images),
            objects=sum(int((~image.ignore).sum()) for image in index.images),
            ignored=sum(int(image.ignore.sum()) for image in index.images),
        )
        for split, index in indices.items()
    ]


def parameter_rows(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return nested ``parameters`` under dotted names, in their order, values as JSON where they are no text."""
    rows = flat(parameters)
    return [(key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)) for key, value in rows]


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of all columns that any row has, in the order of their first mention."""
    return list(dict.fromkeys(column for row in rows for column in row))


def folders(artifacts: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Return the bytes of artifacts, given by path, by their folder and the entry in it, both sorted."""
    entries: dict[str, Counter[str]] = defaultdict(Counter)
    for path in sorted(artifacts):
        folder, entry = path.split("/")[:2]
        entries[folder][entry] += artifacts[path]
    return {name: dict(of_folder) for name, of_folder in entries.items()}


@dataclass(frozen=True)
class TimeRow:
    """The times of one system for an image, in milliseconds.

    Attributes:
        phases: medians by name, in the order of all; None for a phase that the system does not have.
        total: median of the whole.
        p95: 95th percentile of the whole.
        speedup: median of the earliest timed system over this one's.
        speedup_without: the same without proposals, those of a system's own network left out as well.
        rates: images a second by batch size, where several go in at once.
    """

    phases: dict[str, float | None]
    total: float
    p95: float
    speedup: float
    speedup_without: float
    rates: dict[int, float]

    @property
    def shares(self) -> dict[str, float]:
        """The phases that the system has as shares of their sum."""
        known = {phase: value for phase, value in self.phases.items() if value is not None}
        return {phase: value / sum(known.values()) for phase, value in known.items()}


def time_rows(timing: Figures) -> dict[str, TimeRow]:
    """Return a row for each system of ``timing``; the first one is what speed-ups are measured against."""
    entered = [phase for phase in PHASES if any(f"{phase}_median" in figures for figures in timing.values())]
    reference = next(iter(timing.values()), {})
    prefix = "images_per_second_batch_"
    return {
        system: TimeRow(
            phases={
                phase: None if (median := figures.get(f"{phase}_median")) is None else 1e3 * median for phase in entered
            },
            total=1e3 * figures["total_median"],
            p95=1e3 * figures["total_p95"],
            speedup=reference["total_median"] / figures["total_median"],
            speedup_without=reference["without_proposals_median"] / figures["without_proposals_median"],
            rates={int(key.removeprefix(prefix)): rate for key, rate in figures.items() if key.startswith(prefix)},
        )
        for system, figures in timing.items()
    }


def surroundings(timing: Figures) -> list[str]:
    """Return where the times were taken, each place once; one is right, several cannot be compared."""
    places = (
        f"{figures['device_name']} ({figures['device']}), {figures['threads']} threads, torch {figures['torch']}"
        for figures in timing.values()
    )
    return list(dict.fromkeys(places))


@dataclass(frozen=True)
class Section:
    """One table of the summary: its name in CSV, its title and a sentence for Markdown, and its rows of figures.

    ``show`` turns one row into cells by column; ``titles`` are names of rows in print, where they have others.
    """

    name: str
    title: str
    note: str
    rows: Mapping[str, Mapping[str, Any]]
    show: Callable[[Mapping[str, Any]], dict[str, str]]
    titles: Mapping[str, str]


def sections(results: Results, level: float) -> list[Section]:
    """Return the tables that have rows.

    Args:
        results: what they are about.
        level: share of the samples inside the intervals, 0 to 1.
    """
    parts = (_accuracy_sections(results, level), _error_sections(results), _time_sections(results))
    every = [section for part in (*parts, _cost_sections(results), _fact_sections(results)) for section in part]
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


def accuracy_time(results: Results) -> str:
    """Return accuracy beside milliseconds an image as CSV, one row for each system that has both."""
    rows = [
        (
            results.systems[name].title,
            round(row.total, 1),
            results.metrics[name]["map_voc07"],
            results.metrics[name]["map_coco"],
        )
        for name, row in time_rows(results.timing).items()
    ]
    return _csv(("system", "ms", "map_voc07", "map_coco"), rows)


def as_text(results: Results) -> str:
    """Return the mean APs in percent, the first with its interval, and milliseconds an image as plain text."""
    rows = time_rows(results.timing)
    line = "{:14}{:>22}{:>12}{:>10}{:>14}"
    lines = [line.format("", *MEAN_APS.values(), "ms an image")]
    for name, figures in results.metrics.items():
        cells = [
            _with_interval(_accuracy(figures), "map_voc07"),
            percent(figures["map_voc"]),
            percent(figures["map_coco"]),
        ]
        total = f"{rows[name].total:.1f}" if name in rows else DASH
        lines.append(line.format(results.systems[name].title, *cells, total))
    return "\n".join(lines)


def _accuracy_sections(results: Results, level: float) -> Iterable[Section]:
    metrics, titles = results.metrics, _titles(results)
    accuracy = {system: _accuracy(figures) for system, figures in metrics.items()}
    note = f"Mean AP in percent; in brackets the {100 * level:g} % interval of a bootstrap over the test images."
    yield Section("accuracy", "Accuracy", note, accuracy, _show_accuracy, titles)

    classes = columns_of(figures["per_class"] for figures in metrics.values())
    per_class = {name: {system: m["per_class"].get(name) for system, m in metrics.items()} for name in classes}
    yield Section(
        "per_class",
        "AP by class",
        "11-point AP in percent.",
        per_class,
        lambda row: {titles[system]: percent(value) for system, value in row.items()},
        {},
    )

    by_size = {system: figures["by_size"] for system, figures in metrics.items() if "by_size" in figures}
    note = "COCO AP in percent by area of the object: small up to 32 x 32 pixels, large from 96 x 96."
    yield Section("by_size", "AP by size", note, by_size, _percentages, titles)


def _error_sections(results: Results) -> Iterable[Section]:
    top = {system: top_shares(figures) for system, figures in results.metrics.items()}
    note = "In percent of the best-scored detections of each class, as many as it has objects."
    yield Section("top_detections", "The top detections", note, _rounded(top), _percentages, _titles(results))
    errors = {system: figures["errors"] for system, figures in results.metrics.items()}
    note = "In percent of the wrong ones among them: badly placed, similar class, other class, background."
    yield Section("errors", "Their errors", note, errors, _percentages, _titles(results))


def _time_sections(results: Results) -> Iterable[Section]:
    rows, titles = time_rows(results.timing), _titles(results)
    if not rows:
        return
    medians = {system: {**row.phases, "total": row.total, "p95": row.p95} for system, row in rows.items()}
    places = "; ".join(surroundings(results.timing))
    note = f"Milliseconds by phase, medians, and the whole's 95th percentile; {places}."
    yield Section("time_ms", "Time for an image", note, _rounded(medians), _tenths, titles)
    ratios = {system: {"whole": row.speedup, "without_proposals": row.speedup_without} for system, row in rows.items()}
    note = f"{titles[next(iter(rows))]}'s time over the system's, and the same without the making of proposals."
    yield Section("speedup", "Speed-up", note, _rounded(ratios), _tenths, titles)


def _cost_sections(results: Results) -> Iterable[Section]:
    sums = {
        owner: {
            name: round(sum(record.get(name, 0) for record in records.values()), 1)
            for name in ("seconds", "cpu_seconds")
        }
        for owner, records in results.costs.items()
    }
    note = (
        f"Training and caching: sums over the long stages of each; `{SHARED}` is the making of proposals and backbone."
    )
    yield Section("costs_by_system", "Cost by system", note, sums, _plain, _titles(results))
    costs = {f"{owner}/{stage}": cost for owner, records in results.costs.items() for stage, cost in records.items()}
    yield Section("costs", "Cost of the long stages", "", costs, _plain, {})


def _fact_sections(results: Results) -> Iterable[Section]:
    note = "What the stages measured of their own work."
    yield Section("stages", "Figures of the stages", note, results.stage_figures, _listed, {})
    sizes = {
        f"{folder}/{entry}": {"bytes": count}
        for folder, entries in folders(results.artifacts).items()
        for entry, count in entries.items()
    }
    yield Section("artifacts", "Artifacts", "", sizes, lambda row: {"size": size(row["bytes"])}, {})
    versions = {name: {"version": text} for name, text in results.versions.items()}
    yield Section("versions", "Versions", "", versions, _plain, {})


def _titles(results: Results) -> dict[str, str]:
    return {name: system.title for name, system in results.systems.items()}


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
    return percent(row[name]) + (f" ({percent(low)}{DASH}{percent(high)})" if low is not None else "")


def _percentages(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: percent(value) for name, value in row.items()}


def _tenths(row: Mapping[str, Any]) -> dict[str, str]:
    return {_spaced(name): DASH if value is None else f"{value:.1f}" for name, value in row.items()}


def _plain(row: Mapping[str, Any]) -> dict[str, str]:
    return {_spaced(name): figure_text(value) for name, value in row.items()}


def _listed(row: Mapping[str, Any]) -> dict[str, str]:
    """Return all figures in one cell, where rows have little in common."""
    return {"figures": "; ".join(f"{name} {text}" for name, text in _plain(row).items())}


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _rounded(rows: Mapping[str, Mapping[str, float | None]]) -> dict[str, dict[str, float | None]]:
    return {
        name: {key: None if value is None else round(value, 6) for key, value in row.items()}
        for name, row in rows.items()
    }


def _section_text(section: Section) -> str:
    shown = {name: section.show(row) for name, row in section.rows.items()}
    columns = columns_of(shown.values())
    lines = [_line(["", *columns]), "|---" + "|---:" * len(columns) + "|"]
    lines += [
        _line([section.titles.get(name, name), *(cells.get(column, DASH) for column in columns)])
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
