"""The report's charts as SVG geometry: panels of precision and recall, of F1, of proposals, of error types."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log10

from pipeline.evaluation.errors import TYPES
from pipeline.report.results import SHARED, Results, Rows

# Side of a panel in SVG units.
SIDE = 100
# The name in the legend and the colour of the proposals that systems share.
SHARED_PROPOSALS = ("selective search", "#7d8597")


@dataclass(frozen=True)
class Panel:
    """One small chart: the SVG path of each line by its name, in a square of `SIDE`; empty for one without points."""

    name: str
    paths: dict[str, str]


@dataclass(frozen=True)
class F1Panel:
    """F1 of one system in a square of `SIDE`: SVG paths by class, scores to the right from ``low`` to ``high``."""

    paths: dict[str, str]
    low: float
    high: float


@dataclass(frozen=True)
class Recall:
    """Recall over the number of proposals: a panel for each overlap.

    Attributes:
        panels: boxes run to the right on a logarithmic scale from 1 to ``most``.
        most: the greatest number of proposals of all lines.
        colours: of the lines, by their names.
    """

    panels: list[Panel]
    most: int
    colours: dict[str, str]


@dataclass(frozen=True)
class Trend:
    """Error types of one system: areas stacked in a square of `SIDE`, N to the right on a logarithmic scale.

    Attributes:
        areas: SVG paths by type; types without errors have none.
        first: N at the left end.
        most: N at the right end.
    """

    areas: dict[str, str]
    first: int
    most: int


def class_panels(results: Results) -> list[Panel]:
    """Return precision over recall: a panel for each class that has objects, a line for each system."""
    return [
        Panel(name, {system: curve_path(by_class.get(name, ())) for system, by_class in results.curves.items()})
        for name in results.indices["test"].classes
        if any(figures["per_class"][name] is not None for figures in results.metrics.values())
    ]


def curve_path(points: Sequence[tuple[float, float]]) -> str:
    """Return the curve through ``points`` of recall and precision, from recall 0 on; empty without points."""
    if not points:
        return ""
    places = [(0.0, points[0][1]), *points]
    return "M" + "L".join(f"{_short(SIDE * recall)} {_short(SIDE * (1 - precision))}" for recall, precision in places)


def f1_panels(results: Results) -> dict[str, F1Panel]:
    """Return F1 over the score threshold: a panel for each system with correct detections, a line for each class."""
    return {name: _f1_panel(by_class) for name, by_class in results.f1.items() if by_class}


def recall_lines(results: Results) -> dict[str, tuple[str, Rows]]:
    """Return colour and recall on the test split of the shared proposals and of those that a system makes, by name."""
    lines: dict[str, tuple[str, Rows]] = {}
    for owner, records in results.stages.items():
        for stage, record in records.items():
            tables = record.get("recall", {})
            if owner == SHARED and stage == "proposals_test" and "recall" in tables:
                name, colour = SHARED_PROPOSALS
                lines[name] = (colour, tables["recall"])
            elif owner in results.systems and "test" in tables:
                system = results.systems[owner]
                lines[f"{system.title}, {stage}"] = (system.colour, tables["test"])
    return lines


def recall_chart(results: Results) -> Recall | None:
    """Return the chart of `recall_lines`; None if nothing is known."""
    lines = recall_lines(results)
    most = max((round(row["boxes"]) for _, rows in lines.values() for row in rows), default=1)
    if most <= 1:
        return None
    panels = [
        Panel(title, {name: _recall_path(rows, column, most) for name, (_, rows) in lines.items()})
        for title, column in {"IoU 0.5": "recall_50", "IoU 0.7": "recall_70"}.items()
    ]
    return Recall(panels, most, {name: colour for name, (colour, _) in lines.items()})


def error_trends(errors: Mapping[str, Rows]) -> dict[str, Trend]:
    """Return the shares of the error types among the first N errors (R-CNN's figure 5), a panel for each system.

    Args:
        errors: by system, rows of ``reports/errors/SYSTEM.csv``: ``errors`` (N) and the four shares by type. A system
            with fewer than two rows has no panel.
    """
    return {system: _trend(rows) for system, rows in errors.items() if len(rows) > 1}


def _f1_panel(by_class: Mapping[str, Sequence[tuple[float, float]]]) -> F1Panel:
    scores = [score for points in by_class.values() for score, _ in points]
    low, high = min(scores), max(scores)
    width = high - low or 1.0
    paths = {
        name: "M"
        + "L".join(
            f"{_short(SIDE * (score - low) / width)} {_short(SIDE * (1 - f1))}" for score, f1 in reversed(points)
        )
        for name, points in by_class.items()
    }
    return F1Panel(paths, low, high)


def _trend(rows: Rows) -> Trend:
    first, most = rows[0]["errors"], rows[-1]["errors"]
    xs = [SIDE * log10(row["errors"] / first) / log10(most / first) for row in rows]
    lower = [0.0] * len(rows)
    areas = {}
    for name in TYPES[1:]:
        upper = [low + row[name] for low, row in zip(lower, rows, strict=True)]
        if upper != lower:
            edge = [*zip(xs, upper, strict=True), *reversed(list(zip(xs, lower, strict=True)))]
            areas[name] = "M" + "L".join(f"{x:.1f} {SIDE * (1 - share):.1f}" for x, share in edge) + "Z"
        lower = upper
    return Trend(areas, round(first), round(most))


def _recall_path(rows: Rows, column: str, most: float) -> str:
    places = [(SIDE * log10(row["boxes"]) / log10(most), SIDE * (1 - row[column])) for row in rows]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
