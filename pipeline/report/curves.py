"""Precision-recall curves as SVG paths: one panel per class, one line per system."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.evaluation.metrics import curve_points
from pipeline.evaluation.voc import Ranking

# Side of a panel in SVG units.
SIDE = 100


@dataclass(frozen=True)
class Panel:
    """One class: the SVG path of each system's curve, recall to the right and precision up, in a square of `SIDE`."""

    name: str
    paths: dict[str, str]


def panels(classes: Sequence[str], ranked: Mapping[str, Mapping[str, Ranking]]) -> list[Panel]:
    """Return a panel for each class that has objects.

    Args:
        classes: names in the order to show.
        ranked: rankings by system and class name.
    """
    return [
        Panel(name, {system: curve_path(by_class[name]) for system, by_class in ranked.items()})
        for name in classes
        if any(by_class[name].positives for by_class in ranked.values())
    ]


def curve_path(ranking: Ranking) -> str:
    """Return the curve from recall 0 to the greatest recall reached; empty where no detection is correct."""
    points = curve_points(ranking)
    if not len(points):
        return ""
    first_precision = points[0, 1]
    places = [(0.0, first_precision), *points.tolist()]
    return "M" + "L".join(f"{_short(SIDE * recall)} {_short(SIDE * (1 - p))}" for recall, p in places)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
