"""The comparison as one self-contained HTML file with precision-recall curves: no network, no scripts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.compare.blocks import blocks, reasons
from pipeline.compare.comparison import METRICS, Comparison
from pipeline.compare.revision import Point, Revision
from pipeline.html_templates import environment
from pipeline.registry import all_systems
from pipeline.report.colours import class_colour

# Side of a panel in SVG units.
SIDE = 100


@dataclass(frozen=True)
class Panel:
    """One class under one system: a path for each revision, by its place among all, in a square of `SIDE`."""

    name: str
    paths: dict[int, str]


@dataclass(frozen=True)
class Curves:
    """All classes of one system; ``differ`` is false where all revisions have the same curves."""

    title: str
    differ: bool
    panels: list[Panel]


def render(comparison: Comparison) -> str:
    """Return the page: the tables with all three mean APs, curves by system and class, why each stage was run."""
    pages = environment(Path(__file__).parent)
    revisions = [row.revision for row in comparison.rows]
    return pages.get_template("page.html").render(
        baseline=comparison.baseline,
        revisions=revisions,
        colours=_colours(comparison, revisions),
        blocks=blocks(comparison, METRICS),
        curves=[curves(name, revisions) for name in comparison.systems if any(name in r.curves for r in revisions)],
        reasons=[reasons(row) for row in comparison.rows if row.runs],
        side=SIDE,
    )


def curves(system: str, revisions: Sequence[Revision]) -> Curves:
    """Return the panels of one system; revisions without its curves are left out."""
    drawn = {place: revision.curves[system] for place, revision in enumerate(revisions) if system in revision.curves}
    classes = dict.fromkeys(name for by_class in drawn.values() for name in by_class)
    panels = [
        Panel(name, {place: path(by_class[name]) for place, by_class in drawn.items() if name in by_class})
        for name in classes
    ]
    first = next(iter(drawn.values()))
    return Curves(all_systems()[system].title, any(by_class != first for by_class in drawn.values()), panels)


def path(points: Sequence[Point]) -> str:
    """Return a curve as an SVG path from recall 0 on: recall to the right, precision up."""
    places = [(0.0, points[0][1]), *points]
    return "M" + "L".join(f"{SIDE * recall:.1f} {SIDE * (1 - precision):.1f}" for recall, precision in places)


def _colours(comparison: Comparison, revisions: Sequence[Revision]) -> list[str]:
    """Return a colour for each revision; the baseline has that of the text."""
    others = iter(range(1, len(revisions) + 1))
    return ["var(--ink)" if r is comparison.baseline else class_colour(next(others)) for r in revisions]
