"""The comparison as one self-contained HTML file with precision-recall curves, without scripts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.compare.comparison import Comparison
from pipeline.compare.revisions import Point, Revision
from pipeline.compare.tables import TITLES, reasons, tables
from pipeline.core.colours import class_colour
from pipeline.html_templates import environment
from pipeline.registry import all_systems

# Side of a panel in SVG units.
SIDE = 100


@dataclass(frozen=True)
class Curves:
    """All classes of one system.

    Attributes:
        title: of the system.
        differ: false where all revisions have the same curves.
        panels: by class, an SVG path in a square of `SIDE` for each revision, by its place among all.
    """

    title: str
    differ: bool
    panels: dict[str, dict[int, str]]


def render(comparison: Comparison) -> str:
    """Return the page: the tables with all measures, curves by system and class, why each stage ran."""
    revisions = [row.revision for row in comparison.rows]
    drawn = [name for name in comparison.systems if any(revision.curves.get(name) for revision in revisions)]
    # The baseline has the colour of the text.
    colours = ["var(--ink)" if r is comparison.baseline else class_colour(n) for n, r in enumerate(revisions, 1)]
    return (
        environment(Path(__file__).parent)
        .get_template("page.html")
        .render(
            baseline=comparison.baseline,
            revisions=revisions,
            colours=colours,
            tables=tables(comparison, list(TITLES)),
            curves=[_curves(name, revisions) for name in drawn],
            reasons=[reasons(row) for row in comparison.rows if row.runs],
            side=SIDE,
        )
    )


def _curves(system: str, revisions: Sequence[Revision]) -> Curves:
    drawn = {place: revision.curves[system] for place, revision in enumerate(revisions) if system in revision.curves}
    first = next(iter(drawn.values()))
    panels: dict[str, dict[int, str]] = {}
    for place, classes in drawn.items():
        for name, points in classes.items():
            panels.setdefault(name, {})[place] = _path(points)
    return Curves(all_systems()[system].title, any(classes != first for classes in drawn.values()), panels)


def _path(points: Sequence[Point]) -> str:
    """Return a curve as an SVG path from recall 0 on: recall to the right, precision up."""
    places = [(0.0, points[0][1]), *points]
    return "M" + "L".join(f"{SIDE * recall:.1f} {SIDE * (1 - precision):.1f}" for recall, precision in places)
