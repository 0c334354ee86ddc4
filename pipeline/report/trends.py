"""Shares of the error types among the first N errors as SVG areas: one panel per system, R-CNN's figure style."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log10

from pipeline.evaluation.errors import TYPES
from pipeline.report.curves import SIDE


@dataclass(frozen=True)
class Trend:
    """One system: the area of each error type, stacked in a square of `SIDE`, N to the right on a logarithmic scale.

    ``first`` and ``most`` are the N at the two ends.
    """

    areas: dict[str, str]
    first: int
    most: int


def trends(rows: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Trend]:
    """Return the panels of the systems that made errors at two or more N.

    Args:
        rows: by system, rows of ``reports/plots/errors/SYSTEM.csv``: ``errors`` (N) and the four shares by type.
    """
    return {system: _trend(points) for system, points in rows.items() if len(points) > 1}


def _trend(points: Sequence[Mapping[str, float]]) -> Trend:
    first, most = points[0]["errors"], points[-1]["errors"]
    xs = [SIDE * log10(point["errors"] / first) / log10(most / first) for point in points]
    lower = [0.0] * len(points)
    areas = {}
    for name in TYPES[1:]:
        upper = [low + point[name] for low, point in zip(lower, points, strict=True)]
        if upper != lower:
            edge = [*zip(xs, upper, strict=True), *reversed(list(zip(xs, lower, strict=True)))]
            areas[name] = "M" + "L".join(f"{x:.1f} {SIDE * (1 - share):.1f}" for x, share in edge) + "Z"
        lower = upper
    return Trend(areas, round(first), round(most))
