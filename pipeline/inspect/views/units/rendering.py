"""Units as text and as a picture: a line for each."""

from typing import TYPE_CHECKING

from pipeline.inspect.showing.rendering import Rendering, Section
from pipeline.inspect.views.units.look import UnitsView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RANKED_PER_CLASS = 3
# Of a crop in the picture, in inches; 64 units of 12 regions stay below a megabyte.
_INCH = 0.72
_LABEL_INCHES = 1.4


def render(view: UnitsView) -> Rendering:
    """Return what is shown of units."""
    sections = (
        Section(f"Units of {view.name}", "\n".join(_unit_lines(view))),
        Section("Units that tell a class from all else", "\n".join(_class_lines(view))),
    )
    return Rendering(f"Units of {view.name}", sections, lambda: figure(view))


def figure(view: UnitsView) -> "Figure":
    """Return a matplotlib figure: a line for each unit, its regions from left to right.

    Activations stand in the corners. The white frame is the receptive field, where a unit does not see all.
    """
    from matplotlib.figure import Figure

    units, count = view.top.rows.shape
    size = (_LABEL_INCHES + count * _INCH, max(1, units) * _INCH)
    drawing = Figure(figsize=size)
    axis = drawing.add_axes((_LABEL_INCHES / size[0], 0, 1 - _LABEL_INCHES / size[0], 1))
    axis.set(xlim=(0, count), ylim=(max(1, units), 0), xticks=[], yticks=[])
    axis.set_axis_off()
    for k, unit in enumerate(view.top.units.tolist()):
        axis.text(-0.08, k + 0.5, _title(view, k), ha="right", va="center", fontsize=8, linespacing=1.4)
        for place in range(int(view.top.found[k])):
            _draw(axis, view, unit, k, place)
    return drawing


def _draw(axis: "Axes", view: UnitsView, unit: int, k: int, place: int) -> None:
    from matplotlib.patches import Rectangle

    square = view.squares[k, place]
    gap = 0.03
    left, top, inner = place + gap, k + gap, 1 - 2 * gap
    axis.imshow(square, extent=(left, left + inner, top + inner, top), interpolation="bilinear", aspect="auto")
    if view.grid is not None:
        x1, y1, x2, y2 = view.grid.field(unit) / square.shape[0] * inner
        frame = Rectangle((left + x1, top + y1), x2 - x1, y2 - y1, fill=False, edgecolor="white", linewidth=1)
        axis.add_patch(frame)
    axis.text(
        left + 0.04,
        top + 0.04,
        f"{view.top.values[k, place]:.3g}",
        color="white",
        fontsize=6,
        ha="left",
        va="top",
        bbox={"facecolor": "black", "alpha": 0.55, "linewidth": 0, "pad": 0.8},
    )


def _title(view: UnitsView, k: int) -> str:
    unit, told = int(view.top.units[k]), view.told[k]
    lines = [f"unit {unit}"]
    if view.grid is not None:
        channel, y, x = view.grid.cell(unit)
        lines.append(f"channel {channel}, y {y}, x {x}")
    if told is not None:
        lines.append(f"{told[0]}: AUC {told[1]:.2f}")
    return "\n".join(lines)


def _unit_lines(view: UnitsView) -> list[str]:
    lines = [f"{'unit':>6}  {'channel, y, x':14}{'class':14}{'AUC':>6}   strongest {view.row_name}s: value (image id)"]
    for k, unit in enumerate(view.top.units.tolist()):
        where = "{}, {}, {}".format(*view.grid.cell(unit)) if view.grid is not None else ""
        name, area = view.told[k] or ("", float("nan"))
        shown = min(int(view.top.found[k]), 5)
        pairs = zip(view.top.values[k, :shown].tolist(), view.top.image_ids[k, :shown].tolist(), strict=True)
        strongest = "  ".join(f"{value:.3g} ({image})" for value, image in pairs) or "never above 0"
        lines.append(f"{unit:>6}  {where:14}{name[:13]:14}{area:>6.3f}   {strongest}")
    return lines


def _class_lines(view: UnitsView) -> list[str]:
    found = view.separation
    lines = [
        f"Area under the ROC curve of one unit, on {found.sampled:,} of {found.rows:,} evenly spread {view.row_name}s.",
        f"For each class the {RANKED_PER_CLASS} best units:",
    ]
    for label, name in enumerate(found.classes, 1):
        if not found.positives[label - 1]:
            lines.append(f"{name[:20]:20}  no {view.row_name} of this class")
            continue
        best = found.best(label, RANKED_PER_CLASS).tolist()
        listed = "   ".join(f"{unit} ({found.auc[unit, label - 1]:.3f})" for unit in best)
        lines.append(f"{name[:20]:20}{found.positives[label - 1]:>8,} {view.row_name}s   {listed}")
    return lines
