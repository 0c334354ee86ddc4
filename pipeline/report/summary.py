"""The figures of the report without the page: Markdown to read or paste, CSV to work with, and a table to print.

CSV has one figure a row under ``table,row,figure,value``, shares from 0 to 1 and in full; Markdown rounds them.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.report.results import SHARED, Results
from pipeline.report.tables import (
    DASH,
    ERRORS,
    MEAN_APS,
    columns_of,
    error_costs,
    figure_text,
    folders,
    number,
    percent,
    size,
    surroundings,
    time_rows,
    top_shares,
)


@dataclass(frozen=True)
class Table:
    """One table of the summary: its name in CSV, its title and a sentence for Markdown, and its rows of figures.

    ``show`` turns one row into cells by column; ``titles`` are names of rows in print, where they have others.
    """

    name: str
    title: str
    note: str
    rows: Mapping[str, Mapping[str, Any]]
    show: Callable[[Mapping[str, Any]], dict[str, str]]
    titles: Mapping[str, str]


def summary_tables(results: Results, level: float) -> list[Table]:
    """Return the tables that have rows.

    Args:
        results: what they are about.
        level: share of the samples inside the intervals, 0 to 1.
    """
    detection = results.of("detect")
    parts = (
        _accuracy_tables(detection, level),
        _error_tables(detection),
        _threshold_tables(detection),
        _time_tables(detection),
        _localisation_tables(results, level),
    )
    every = [table for part in (*parts, _cost_tables(results), _fact_tables(results)) for table in part]
    return [table for table in every if table.rows]


def as_markdown(heading: str, tables: Sequence[Table]) -> str:
    """Return all tables under one heading."""
    return "\n\n".join([f"# {heading}", *(_table_text(table) for table in tables)]) + "\n"


def as_csv(tables: Sequence[Table]) -> str:
    """Return all figures as CSV, one a row; the value of one that does not exist is empty."""
    rows = (
        (table.name, row, figure, value)
        for table in tables
        for row, figures in table.rows.items()
        for figure, value in figures.items()
    )
    return _csv(("table", "row", "figure", "value"), rows)


def as_text(results: Results) -> str:
    """Return by system its measures in percent, the first with its interval, and milliseconds an image as plain text.

    Detectors stand first, with mean APs; systems that localise have a table of their own, of errors.
    """
    detection, localisation = results.of("detect"), results.of("localise")
    tables = [_text(detection, MEAN_APS)] if detection.metrics or not localisation.metrics else []
    return "\n\n".join([*tables, *([_text(localisation, ERRORS)] if localisation.metrics else [])])


def _text(results: Results, measures: Mapping[str, str]) -> str:
    rows, (first, *others) = time_rows(results.timing), measures
    line = "{:14}{:>22}" + "".join(f"{{:>{len(measures[name]) + 3}}}" for name in others) + "{:>14}"
    lines = [line.format("", *measures.values(), "ms an image")]
    for name, figures in results.metrics.items():
        shown = _with_ends(figures, measures)
        cells = [_with_interval(shown, key) if key == first else percent(figures[key]) for key in measures]
        total = f"{rows[name].total:.1f}" if name in rows else DASH
        lines.append(line.format(results.systems[name].title, *cells, total))
    return "\n".join(lines)


def _accuracy_tables(results: Results, level: float) -> Iterable[Table]:
    metrics, titles = results.metrics, _titles(results)
    accuracy = {system: _with_ends(figures, MEAN_APS) for system, figures in metrics.items()}
    note = f"Mean AP in percent; in brackets the {100 * level:g} % interval of a bootstrap over the test images."
    yield Table("accuracy", "Accuracy", note, accuracy, lambda row: _show_measures(row, MEAN_APS), titles)

    classes = columns_of(figures["per_class"] for figures in metrics.values())
    per_class = {name: {system: m["per_class"].get(name) for system, m in metrics.items()} for name in classes}
    yield Table(
        "per_class",
        "AP by class",
        "11-point AP in percent.",
        per_class,
        lambda row: _by_title(row, titles, percent),
        {},
    )

    whole = {name: {key: row[key] for key in ("map_voc07", "map_voc")} for name, row in results.whole_images.items()}
    note = "Which classes an image shows, asked of the whole image: mean AP in percent."
    yield Table("whole_images", "Classification of whole images", note, whole, _show_mean_aps, titles)

    by_size = {system: figures["by_size"] for system, figures in metrics.items() if "by_size" in figures}
    note = "COCO AP in percent by area of the object: small up to 32 x 32 pixels, large from 96 x 96."
    yield Table("by_size", "AP by size", note, by_size, _percentages, titles)


def _error_tables(results: Results) -> Iterable[Table]:
    top = {system: top_shares(figures) for system, figures in results.metrics.items()}
    note = "In percent of the best-scored detections of each class, as many as it has objects."
    yield Table("top_detections", "The top detections", note, _rounded(top), _percentages, _titles(results))
    errors = {system: figures["errors"] for system, figures in results.metrics.items()}
    note = "In percent of the wrong ones among them: badly placed, similar class, other class, background."
    yield Table("errors", "Their errors", note, errors, _percentages, _titles(results))
    costs = error_costs(results.metrics)
    note = "Points of mAP (area) that a system would gain if all errors of one type were mended (TIDE)."
    yield Table("ap_costs", "What errors cost", note, costs, _percentages, _titles(results))


def _threshold_tables(results: Results) -> Iterable[Table]:
    titles = _titles(results)
    note = "The score of each class from which on its F1 is best, chosen on the test split."
    scores = _best_f1(results, "score")
    yield Table("thresholds", "Score thresholds", note, scores, lambda row: _by_title(row, titles, number), {})
    note = "In percent, from these scores on."
    f1 = _best_f1(results, "f1")
    yield Table("f1", "Best F1 by class", note, f1, lambda row: _by_title(row, titles, percent), {})


def _best_f1(results: Results, figure: str) -> dict[str, dict[str, float]]:
    """Return one figure of the points with the best F1 by class and system; without those that have none."""
    rows: dict[str, dict[str, float]] = {}
    for system, figures in results.metrics.items():
        for name, point in figures.get("operating", {}).items():
            if point:
                rows.setdefault(name, {})[system] = point[figure]
    return rows


def _time_tables(results: Results) -> Iterable[Table]:
    rows, titles = time_rows(results.timing), _titles(results)
    if not rows:
        return
    yield _medians("time_ms", "Time for an image", results)
    ratios = {system: {"whole": row.speedup, "without_proposals": row.speedup_without} for system, row in rows.items()}
    note = f"{titles[next(iter(rows))]}'s time over the system's, and the same without the making of proposals."
    yield Table("speedup", "Speed-up", note, _rounded(ratios), _tenths, titles)
    if scored := results.boxes_scored:
        note = "The mean over the test images, each class's counted for itself."
        boxes = {system: {"boxes": count} for system, count in scored.items()}
        yield Table("boxes_scored", "Boxes scored in an image", note, boxes, _plain, titles)


def _medians(name: str, title: str, results: Results) -> Table:
    rows = time_rows(results.timing)
    medians = {system: {**row.phases, "total": row.total, "p95": row.p95} for system, row in rows.items()}
    places = "; ".join(surroundings(results.timing))
    note = f"Milliseconds by phase, medians, and the whole's 95th percentile; {places}."
    return Table(name, title, note, _rounded(medians), _tenths, _titles(results))


def _localisation_tables(results: Results, level: float) -> Iterable[Table]:
    rows = {system: _with_ends(figures, ERRORS) for system, figures in results.localised.items()}
    note = (
        "One object an image, by ILSVRC's rules: percent of the images without a right guess, less is better; in "
        f"brackets the {100 * level:g} % interval of a bootstrap over the test images."
    )
    yield Table("localisation", "Localisation", note, rows, lambda row: _show_measures(row, ERRORS), _titles(results))
    yield _medians("localisation_time_ms", "Time for an image: localisation", results.of("localise"))


def _cost_tables(results: Results) -> Iterable[Table]:
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
    yield Table("costs_by_system", "Cost by system", note, sums, _plain, _titles(results))
    costs = {f"{owner}/{stage}": cost for owner, records in results.costs.items() for stage, cost in records.items()}
    yield Table("costs", "Cost of the long stages", "", costs, _plain, {})


def _fact_tables(results: Results) -> Iterable[Table]:
    note = "What the stages measured while they ran."
    yield Table("stages", "Figures of the stages", note, results.stage_figures, _listed, {})
    sizes = {
        f"{folder}/{entry}": {"bytes": count}
        for folder, entries in folders(results.artifacts).items()
        for entry, count in entries.items()
    }
    yield Table("artifacts", "Artifacts", "", sizes, lambda row: {"size": size(row["bytes"])}, {})
    versions = {name: {"version": text} for name, text in results.versions.items()}
    yield Table("versions", "Versions", "", versions, _plain, {})


def _titles(results: Results) -> dict[str, str]:
    return {name: system.title for name, system in results.systems.items()}


def _with_ends(figures: Mapping[str, Any], measures: Iterable[str]) -> dict[str, float | None]:
    """Return ``measures``, each followed by the ends of its interval where that is known."""
    intervals = figures.get("intervals", {})
    row: dict[str, float | None] = {}
    for name in measures:
        row[name] = figures[name]
        row |= {f"{name}_{end}": value for end, value in (intervals.get(name) or {}).items()}
    return row


def _show_measures(row: Mapping[str, Any], measures: Mapping[str, str]) -> dict[str, str]:
    return {title: _with_interval(row, name) for name, title in measures.items()}


def _show_mean_aps(row: Mapping[str, Any]) -> dict[str, str]:
    return {MEAN_APS[name]: percent(value) for name, value in row.items()}


def _with_interval(row: Mapping[str, Any], name: str) -> str:
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return percent(row[name]) + (f" ({percent(low)}{DASH}{percent(high)})" if low is not None else "")


def _by_title(row: Mapping[str, Any], titles: Mapping[str, str], show: Callable[[Any], str]) -> dict[str, str]:
    return {titles[system]: show(value) for system, value in row.items()}


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


def _table_text(table: Table) -> str:
    shown = {name: table.show(row) for name, row in table.rows.items()}
    columns = columns_of(shown.values())
    lines = [_line(["", *columns]), "|---" + "|---:" * len(columns) + "|"]
    lines += [
        _line([table.titles.get(name, name), *(cells.get(column, DASH) for column in columns)])
        for name, cells in shown.items()
    ]
    return "\n\n".join(part for part in (f"## {table.title}", table.note, "\n".join(lines)) if part)


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
