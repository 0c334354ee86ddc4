"""The summary of caches as text and as a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.inspect.showing.rendering import Rendering, Section
from pipeline.inspect.views.summary.contents import LayerSummary, Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOUR = "#2f6fed"
_BARS = " ▁▂▃▄▅▆▇█"


def render(summaries: Sequence[Summary]) -> Rendering:
    """Return what is shown of one cache or several."""
    sections = []
    for summary in summaries:
        sections.append(Section(str(summary.path), "\n".join(_cache_lines(summary))))
        sections += [Section("", "\n".join(_layer_lines(layer))) for layer in summary.layers]
    title = "Summary of " + " and ".join(str(summary.path) for summary in summaries)
    return Rendering(title, tuple(sections), lambda: figure(summaries))


def figure(summaries: Sequence[Summary]) -> "Figure":
    """Return a matplotlib figure: the norms of each layer, and how rows overlap with objects."""
    from matplotlib.figure import Figure

    layers = [(summary, layer) for summary in summaries for layer in summary.layers]
    panels = len(layers) + sum(summary.overlap is not None for summary in summaries)
    drawing = Figure(figsize=(4.2 * panels, 3), layout="constrained")
    axes = iter(np.atleast_1d(drawing.subplots(1, panels)))
    for summary, layer in layers:
        axis = next(axes)
        axis.stairs(layer.norm_counts, layer.norm_edges, fill=True, color=COLOUR)
        system = summary.attributes.get("system", "")
        axis.set(title=f"{system} {layer.layer}", xlabel=f"norm of a {summary.row_name}", ylabel=f"{summary.row_name}s")
    for summary in summaries:
        if summary.overlap is not None:
            axis = next(axes)
            axis.stairs(summary.overlap, np.linspace(0, 1, len(summary.overlap) + 1), fill=True, color=COLOUR)
            axis.set(title="proposals", xlabel="best overlap with an object", ylabel="regions, log scale")
            axis.set_yscale("symlog", linthresh=1)
            axis.set_ylim(bottom=0)
    for axis in drawing.axes:
        axis.spines[["top", "right"]].set_visible(False)
    return drawing


def _cache_lines(summary: Summary) -> list[str]:
    known = summary.attributes
    least, median, most = summary.rows_per_image
    named = ("system", "network", "weights", "fingerprint", "region", "scales", "stride")
    lines = [f"{name:14}{_short(known[name])}" for name in named if name in known]
    rows = summary.layers[0].shape[0]
    lines.append(
        f"{'rows':14}{rows:,} {summary.row_name}s of {summary.images:,} images ({least} to {most}, median {median})"
    )
    if summary.overlap is not None:
        lines += [f"{'objects':14}{summary.ground_truth:,} rows are ground truth", *_overlap_lines(summary.overlap)]
    return lines


def _overlap_lines(overlap: NDArray[np.int64]) -> list[str]:
    steps = len(overlap)
    names = "".join(f"{i / steps:>9.1f}+" for i in range(steps))
    return [f"{'overlap':12}{names}", f"{'regions':12}" + "".join(f"{count:>10,}" for count in overlap.tolist())]


def _layer_lines(layer: LayerSummary) -> list[str]:
    rows, units = layer.shape
    lines = [
        f"{'layer':14}{layer.layer}: {rows:,} x {units:,} {layer.dtype}",
        f"{'stored':14}{layer.stored_bytes / 1e6:,.1f} MB of {layer.raw_bytes / 1e6:,.1f} MB raw, "
        f"{layer.ratio:.2f} times smaller; chunks of {layer.chunk_rows:,} rows, shards of {layer.shard_rows:,}",
        f"{'zeros':14}{100 * layer.zeros:.1f} %",
        f"{'norm':14}{layer.mean_norm:.4g} on average, greatest value {layer.greatest:.4g}",
        f"{'norms':14}{_spark(layer.norm_counts)}  0 to {layer.norm_edges[-1]:.4g}",
        f"{'dead units':14}{_listed(layer.dead.tolist(), units)}",
        f"{'not finite':14}{_not_finite(layer)}",
    ]
    if layer.shards_found < layer.shards_expected:
        lines.append(
            f"{'WARNING':14}{layer.shards_expected - layer.shards_found} of {layer.shards_expected} shard files are "
            "absent and read as zeros: lost, or all of their values are 0"
        )
    return lines


def _not_finite(layer: LayerSummary) -> str:
    if not len(layer.not_finite):
        return "none"
    units = [int(unit) for unit in layer.not_finite[:, 0]]
    return (
        f"{int(layer.not_finite[:, 1].sum()):,} values, in units {_listed(units, layer.shape[1])}; "
        f"first rows {', '.join(map(str, layer.rows_not_finite.tolist()))}"
    )


def _listed(units: list[int], of: int) -> str:
    if not units:
        return f"none of {of:,}"
    shown = ", ".join(map(str, units[:8])) + (", ..." if len(units) > 8 else "")
    return f"{len(units):,} of {of:,} ({shown})"


def _short(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)[:16]


def _spark(counts: NDArray[np.int64]) -> str:
    """Return the counts as blocks of eight heights; what is not empty shows."""
    top = max(1, int(counts.max(initial=0)))
    return "".join(_BARS[-(-int(count) * (len(_BARS) - 1) // top)] for count in counts)
