"""Runs that differ in the seed alone: which they are, and how far the mean of a few figures may be trusted."""

from collections.abc import Sequence
from math import sqrt
from statistics import mean, stdev
from typing import Any

from scipy.stats import t

from pipeline.compare.revisions import Revision

CODE = "code"


def groups(revisions: Sequence[Revision]) -> list[list[Revision]]:
    """Deal revisions out to groups whose members differ in nothing but the seed, in the order of the first of each.

    Members have the same parameters (``runtime``, which changes no result, aside), the same code, the same files from
    outside the graph, and were made on the same machines. A revision without figures, or whose figures are older than
    its parameters, stands alone.
    """
    dealt: list[tuple[Any, list[Revision]]] = []
    for revision in revisions:
        made_from = _made_from(revision)
        group = next((group for other, group in dealt if made_from is not None and other == made_from), None)
        if group is None:
            dealt.append((made_from, [revision]))
        else:
            group.append(revision)
    return [group for _, group in dealt]


def by_seed(group: Sequence[Revision]) -> dict[str, Revision]:
    """Return the members of a group by their seeds, of several with one seed the first."""
    return {seed(revision): revision for revision in reversed(group)}


def seed(revision: Revision) -> str:
    """Return the seed as text, whatever stands in its place."""
    return str(revision.parameter("seed"))


def t_interval(values: Sequence[float], level: float) -> tuple[float, float]:
    """Return the interval that holds the mean behind ``values`` with probability ``level``, by Student's t.

    Args:
        values: at least two, of independent runs.
        level: 0 to 1.
    """
    half = float(t.ppf((1 + level) / 2, len(values) - 1)) * stdev(values) / sqrt(len(values))
    return mean(values) - half, mean(values) + half


def _made_from(revision: Revision) -> Any:
    """Return all that determines a revision's figures but the seed; None where that cannot be told."""
    if revision.problem or not revision.metrics or revision.outdated():
        return None
    parameters = {key: value for key, value in revision.parameters.items() if key not in {"seed", "runtime"}}
    outputs = [path for stage in revision.stages.values() for path in stage.outputs]
    stages = {
        name: (stage.command, {path: md5 for path, md5 in stage.inputs.items() if _given(path, outputs)})
        for name, stage in revision.stages.items()
        if name != CODE
    }
    return parameters, stages, dict(revision.made_on)


def _given(path: str, outputs: Sequence[str]) -> bool:
    """Return whether an input is code, or no stage makes it, a part of it or a folder around it."""
    made = any(f"{path}/".startswith(f"{out}/") or f"{out}/".startswith(f"{path}/") for out in outputs)
    return path.startswith(f"{CODE}/") or not made
