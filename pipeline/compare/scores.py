"""Scores and how they compare: each run with the baseline's run of the same seed, and the runs of several seeds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import mean, stdev
from typing import Any

from pipeline.compare.bootstrap import PairedBootstrap
from pipeline.compare.revisions import DETECTIONS, METRICS, TEST_IMAGES, LockedStage, Revision
from pipeline.compare.seeds import by_seed, t_interval
from pipeline.evaluation.measures import MEASURES

Interval = tuple[float, float]
Pair = tuple[Revision, Revision]
"""A run and the one that it is compared with."""
NAMES = tuple(name for measures in MEASURES.values() for name in measures.names)
"""The measures of all tasks; a system has those of its own."""


class Verdict(StrEnum):
    """How a score compares with the baseline's."""

    SAME = "same detections"
    UNCLEAR = "interval holds zero"
    CLEAR = "interval without zero"
    UNAVAILABLE = "detections not at hand"
    OTHER_TEST = "other test"
    OTHER_MACHINE = "other machine"


@dataclass(frozen=True)
class Score:
    """One measure, 0 to 1, with its interval where recorded.

    Runs of the baseline's group have no difference and no verdict, nor have scores that the baseline lacks. One from
    another machine has a verdict only. The difference has an interval where the verdict is `Verdict.UNCLEAR` or
    `Verdict.CLEAR`.
    """

    value: float
    interval: Interval | None
    difference: float | None = None
    difference_interval: Interval | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Spread:
    """One measure, 0 to 1, over runs of at least two seeds.

    Where the baseline has runs of at least two of the same seeds, ``difference`` is the mean over these seeds of how
    far a run lies above the baseline's of its seed.

    Attributes:
        mean: over the seeds.
        deviation: of the sample.
        seeds: their number.
        difference: None for the baseline itself, and where fewer than two seeds can be compared.
        over_images: its interval over draws of the test images; None without a verdict by intervals.
        over_seeds: its t-interval.
        verdict: `Verdict.CLEAR` where neither interval includes 0.
    """

    mean: float
    deviation: float
    seeds: int
    difference: float | None = None
    over_images: Interval | None = None
    over_seeds: Interval | None = None
    verdict: Verdict | None = None


Scores = Mapping[str, Mapping[str, Score]]
Spreads = Mapping[str, Mapping[str, Spread]]


def scores(revision: Revision, reference: Revision, systems: Sequence[str], bootstrap: PairedBootstrap) -> Scores:
    """Return the scores of a run by metric and system, compared with ``reference`` unless that is the run itself."""
    return {metric: dict(_scores(revision, reference, metric, systems, bootstrap)) for metric in NAMES}


def spreads(
    group: Sequence[Revision], baselines: Sequence[Revision], systems: Sequence[str], bootstrap: PairedBootstrap
) -> Spreads:
    """Return mean and deviation over a group's seeds by metric and system, compared with the baseline's group.

    Empty where the group has runs of one seed alone.
    """
    runs, references = by_seed(group), by_seed(baselines)
    pairs = [] if group is baselines else [(runs[seed], references[seed]) for seed in runs if seed in references]
    found: dict[str, dict[str, Spread]] = {metric: {} for metric in NAMES if len(runs) > 1}
    for metric, of_systems in found.items():
        for system in systems:
            values = [value for run in runs.values() if (value := _value(run, metric, system)) is not None]
            if len(values) > 1:
                spread = Spread(mean(values), stdev(values), len(values))
                of_systems[system] = _judged(spread, pairs, metric, system, bootstrap)
    return found


def _scores(
    revision: Revision, reference: Revision, metric: str, systems: Sequence[str], bootstrap: PairedBootstrap
) -> Iterator[tuple[str, Score]]:
    for system in systems:
        value, other = (_value(run, metric, system) for run in (revision, reference))
        if value is None:
            continue
        score = Score(value, _limits((revision.metrics[system].get("intervals") or {}).get(metric)))
        if other is not None and revision is not reference:
            pair = [(revision, reference)]
            verdict, interval = _verdict(pair, metric, system, bootstrap)
            if verdict is Verdict.OTHER_MACHINE:
                score = replace(score, verdict=verdict)
            else:
                score = replace(score, difference=value - other, difference_interval=interval, verdict=verdict)
        yield system, score


def _judged(spread: Spread, pairs: Sequence[Pair], metric: str, system: str, bootstrap: PairedBootstrap) -> Spread:
    """Return a spread with the mean change of ``pairs`` and the verdict on it, where two or more have the score."""
    scored, changes = [], []
    for pair in pairs:
        value, other = (_value(run, metric, system) for run in pair)
        if value is not None and other is not None:
            scored.append(pair)
            changes.append(value - other)
    if len(changes) < 2:
        return spread
    verdict, over_images = _verdict(scored, metric, system, bootstrap)
    if verdict is Verdict.OTHER_MACHINE:
        return replace(spread, verdict=verdict)
    low, high = over_seeds = t_interval(changes, bootstrap.level)
    if verdict is Verdict.CLEAR and low <= 0 <= high:
        verdict = Verdict.UNCLEAR
    return replace(spread, difference=mean(changes), over_images=over_images, over_seeds=over_seeds, verdict=verdict)


def _verdict(
    pairs: Sequence[Pair], metric: str, system: str, bootstrap: PairedBootstrap
) -> tuple[Verdict, Interval | None]:
    """Return the verdict on the mean difference of ``pairs`` by the test images, and its interval if that decides."""
    found = {_without_draws(*pair, metric, system) for pair in pairs}
    for verdict in (Verdict.OTHER_MACHINE, Verdict.OTHER_TEST, Verdict.UNAVAILABLE):
        if verdict in found:
            return verdict, None
    if found == {Verdict.SAME}:
        return Verdict.SAME, None
    interval = _limits(bootstrap.intervals(pairs, system).get(metric))
    if interval is None:
        return Verdict.UNAVAILABLE, None
    return (Verdict.UNCLEAR if interval[0] <= 0 <= interval[1] else Verdict.CLEAR), interval


def _without_draws(revision: Revision, reference: Revision, metric: str, system: str) -> Verdict | None:
    """Return the verdict on a score where it needs no draws of images, None where it does."""
    here, there = (run.producer(METRICS.format(system)) for run in (revision, reference))
    detections = [stage.inputs.get(DETECTIONS.format(system)) for stage in (here, there) if stage]
    same = len(detections) == 2 and detections[0] == detections[1]
    if revision.made_elsewhere(reference, system) and not same:
        return Verdict.OTHER_MACHINE
    if here is None or there is None:
        return Verdict.UNAVAILABLE
    if _test(here) != _test(there):
        return Verdict.OTHER_TEST
    if same:
        # Another score for the same detections: the code that evaluates was another.
        equal = _value(revision, metric, system) == _value(reference, metric, system)
        return Verdict.SAME if equal else Verdict.OTHER_TEST
    return None


def _value(revision: Revision, metric: str, system: str) -> float | None:
    return revision.metrics.get(system, {}).get(metric)


def _limits(limits: Mapping[str, float] | None) -> Interval | None:
    return (limits["low"], limits["high"]) if limits else None


def _test(evaluation: LockedStage) -> tuple[str | None, Any]:
    """Return what a score depends on beside the detections: the test images and the overlap of a correct one."""
    return evaluation.inputs.get(TEST_IMAGES), evaluation.parameter("evaluation.iou")
