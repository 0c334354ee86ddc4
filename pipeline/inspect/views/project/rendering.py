"""Projected regions as text and as a picture."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.inspect.showing.drawing import INK, bare, colour_of
from pipeline.inspect.showing.rendering import Rendering, Section
from pipeline.inspect.views.project.layout import Projection

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHODS = {"pca": "PCA", "tsne": "t-SNE"}


def render(view: Projection, name: str) -> Rendering:
    """Return what is shown of a projection; ``name`` says whose regions these are."""
    title = f"{METHODS[view.method]} of {len(view.regions):,} regions, {view.layer} of {name}"
    return Rendering(title, (Section(title, "\n".join(_lines(view))),), lambda: figure(view))


def figure(view: Projection) -> "Figure":
    """Return a matplotlib figure: a point a region in the colour of its class, background small and grey below."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(8.6, 6.4), layout="constrained")
    axis = drawing.subplots()
    for label in range(len(view.classes) + 1):
        points = view.points[view.regions.labels == label]
        if len(points):
            size, name = (26, view.classes[label - 1]) if label else (9, "background")
            style = {"linewidth": 0.4, "edgecolor": "white"} if label else {"linewidth": 0, "alpha": 0.6}
            axis.scatter(
                points[:, 0], points[:, 1], s=size, color=colour_of(label), label=f"{name} ({len(points):,})", **style
            )
            if label and view.method == "tsne":  # components alone leave most classes on one heap
                _name_cluster(axis, points, name)
    axis.set_aspect("equal", "datalim")
    bare(axis)
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=10, labelcolor=INK, markerscale=1.6)
    axis.set_title(
        f"{METHODS[view.method]} of {view.layer}: regions by the object that they overlap by half or more",
        fontsize=11, color=INK, loc="left",
    )  # fmt: skip
    return drawing


def _name_cluster(axis: "Axes", points: NDArray[np.float32], name: str) -> None:
    """Write the name of a class in the middle of its points."""
    from matplotlib.patheffects import withStroke

    x, y = np.median(points, axis=0)
    halo = [withStroke(linewidth=3, foreground="white")]
    axis.text(x, y, name, fontsize=10, color=INK, ha="center", va="center", path_effects=halo, zorder=5)


def _lines(view: Projection) -> list[str]:
    kept = "the two axes hold" if view.method == "pca" else "the principal components before it hold"
    lines = [f"{kept} {100 * view.explained:.1f} % of the variance", ""]
    width = max(10, *(len(name) for name in view.classes)) if view.classes else 10
    lines.append(f"{'class':{width}}  {'sampled':>8}  {'of':>10}  centre")
    for label, of in enumerate(view.of.tolist()):
        points = view.points[view.regions.labels == label]
        name = view.classes[label - 1] if label else "background"
        centre = " ".join(f"{place:.1f}" for place in np.median(points, axis=0)) if len(points) else "-"
        lines.append(f"{name:{width}}  {len(points):8,}  {of:10,}  {centre}")
    return lines
