"""Recall over the number of proposals as SVG paths: one panel per overlap, one line per kind of proposals."""

from collections.abc import Mapping, Sequence
from math import log10

from pipeline.report.curves import SIDE, Panel

COLOURS = {"selective search": "#7d8597", "RPN": "#d6456b"}


def recall_panels(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> list[Panel]:
    """Return the panels for overlaps of 0.5 and 0.7; none without a curve.

    Args:
        curves: by name, rows of `pipeline.evaluation.recall.curve`; boxes run to the right on a logarithmic
            scale from 1 to the greatest number of all curves.
    """
    most = most_boxes(curves)
    if most <= 1:
        return []
    columns = {"IoU 0.5": "recall_50", "IoU 0.7": "recall_70"}
    return [
        Panel(title, {name: _path(rows, column, most) for name, rows in curves.items()})
        for title, column in columns.items()
    ]


def most_boxes(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> int:
    """Return the greatest number of proposals of all curves, 1 without any."""
    return max((round(row["boxes"]) for rows in curves.values() for row in rows), default=1)


def _path(rows: Sequence[Mapping[str, float]], column: str, most: float) -> str:
    places = [(SIDE * log10(row["boxes"]) / log10(most), SIDE * (1 - row[column])) for row in rows]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
