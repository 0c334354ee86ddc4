"""The differences of two caches as text and as a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.inspect.showing.rendering import Rendering, Section
from pipeline.inspect.views.diff.difference import Difference, Similarity
from pipeline.inspect.views.diff.parts import RELATIVE_EDGES, Flips

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_A, _B = "#2f6fed", "#e0862a"


def render(differences: Sequence[Difference], classes: Sequence[str]) -> Rendering:
    """Return what is shown of the differences of layers; ``classes`` are names, empty where they are not known."""
    sections = tuple(
        Section(f"{found.names[0]} against {found.names[1]}", "\n".join(_lines(found, classes)))
        for found in differences
    )
    return Rendering(sections[0].heading, sections, lambda: figure(differences, classes))


def render_similarity(found: Similarity) -> Rendering:
    """Return what is shown of two layers of unlike widths."""
    text = (
        f"{found.widths[0]:,} and {found.widths[1]:,} units: no value has a counterpart.\n"
        f"linear CKA    {found.cka:.4f} on {found.rows:,} rows (1: alike but for a rotation and a scale; 0: unrelated)"
    )
    heading = f"{found.names[0]} against {found.names[1]}"
    return Rendering(heading, (Section(heading, text),), lambda: _similarity_figure(found))


def figure(differences: Sequence[Difference], classes: Sequence[str]) -> "Figure":
    """Return a matplotlib figure, a line a layer: differences of rows, of units, and turned decisions of SVMs."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(13, 3.1 * len(differences)), layout="constrained")
    axes = drawing.subplots(len(differences), 3, squeeze=False)
    for (rows, units, flips), found in zip(axes, differences, strict=True):
        layer = found.names[0].rpartition(":")[2]
        rows.stairs(found.total.relative_counts, RELATIVE_EDGES, fill=True, color=_A)
        rows.set(xscale="log", title=f"{layer}: rows", xlabel="|a - b| / |a|", ylabel=f"{found.row_name}s")
        units.plot(np.sort(found.by_unit)[::-1], color=_A)
        units.set(
            title=f"{layer}: units", xlabel="units, the most different first", ylabel="mean |a - b|", ylim=(0, None)
        )
        if found.total.flips is None:
            flips.set_axis_off()
        else:
            _draw_flips(flips, found.total.flips, classes)
    for axis in drawing.axes:
        axis.spines[["top", "right"]].set_visible(False)
    return drawing


def _draw_flips(axis: "Axes", flips: Flips, classes: Sequence[str]) -> None:
    place = np.arange(len(flips.labels))
    axis.bar(place - 0.2, flips.positive_a, 0.4, color=_A, label="positive in A")
    axis.bar(place + 0.2, flips.positive_b, 0.4, color=_B, label="positive in B")
    for x, (height, changed) in enumerate(
        zip(np.maximum(flips.positive_a, flips.positive_b).tolist(), flips.changed.tolist(), strict=True)
    ):
        axis.text(x, height, f"{changed:,}", ha="center", va="bottom", fontsize=7)
    axis.set_xticks(place, [_class(label, classes) for label in flips.labels.tolist()], rotation=45, ha="right")
    axis.set(title="SVM decisions; number: turned", ylabel="regions")
    axis.legend(frameon=False, fontsize=8)


def _similarity_figure(found: Similarity) -> "Figure":
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(6, 1.4), layout="constrained")
    axis = drawing.subplots()
    axis.barh([0], [found.cka], color=_A)
    axis.set(xlim=(0, 1), yticks=[], title=f"linear CKA {found.cka:.3f}")
    return drawing


def _lines(found: Difference, classes: Sequence[str]) -> list[str]:
    total, (rows, units) = found.total, found.shape
    differing = [f"{'made with':14}{key}: {_short(a)} | {_short(b)}" for key, a, b in found.attributes]
    lines = [
        *(differing or [f"{'made with':14}the same settings and weights"]),
        f"{'values':14}{rows:,} {found.row_name}s x {units:,}, {found.dtypes[0]} | {found.dtypes[1]}",
        f"{'equal':14}{100 * found.equal:.3f} % of the values, {total.equal_rows:,} whole rows",
        f"{'|a - b|':14}{found.by_unit.mean():.4g} on average, {total.greatest:.4g} at most (row {total.place[0]:,}, "
        f"unit {total.place[1]:,})",
        f"{'|a - b| / |a|':14}{found.relative:.4g} on average, rows as vectors",
        f"{'norms':14}{found.norms[0]:.5g} | {found.norms[1]:.5g} on average",
    ]
    if total.not_finite:
        lines.append(f"{'not finite':14}{total.not_finite:,} values in one or both; left out of the differences")
    if total.flips is not None:
        lines += _flip_lines(total.flips, classes)
    return lines


def _flip_lines(flips: Flips, classes: Sequence[str]) -> list[str]:
    lines = [
        f"{'SVMs':14}{int(flips.changed.sum()):,} of {flips.rows * len(flips.labels):,} decisions turn, "
        f"{flips.best_changed:,} of {flips.rows:,} regions have another best class; "
        f"scores move by {flips.greatest:.4g} at most",
        f"{'':14}{'class':20}{'positive in A':>15}{'in B':>10}{'turned':>10}",
    ]
    columns = zip(flips.labels.tolist(), flips.positive_a, flips.positive_b, flips.changed, strict=True)
    lines += [
        f"{'':14}{_class(label, classes)[:19]:20}{a:>15,}{b:>10,}{turned:>10,}" for label, a, b, turned in columns
    ]
    return lines


def _class(label: int, classes: Sequence[str]) -> str:
    return classes[label - 1] if label <= len(classes) else f"class {label}"


def _short(value: object) -> str:
    return str(value)[:24]
