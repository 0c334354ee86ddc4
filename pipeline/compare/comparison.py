"""Revisions beside a baseline: parameters, scores and whether they can differ by chance, times, bytes, stages run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from pipeline.compare.paired import Paired, Read
from pipeline.compare.revision import Layout, LockedStage, Output, Revision

METRICS = ("map_voc07", "map_voc", "map_coco")
# Where a time was measured; times from different places are not compared.
PLACE = ("device", "device_name", "threads")


class Absent:
    """The value of a parameter that a revision does not have."""


ABSENT = Absent()


@dataclass(frozen=True)
class Change:
    """A parameter, or a whole section that only one side has; ``has_effect`` is false for those that steer the run."""

    key: str
    old: Any
    new: Any
    has_effect: bool = True


class Verdict(StrEnum):
    """What a score says beside the baseline's."""

    SAME = "same detections"
    UNCLEAR = "interval holds zero"
    CLEAR = "interval without zero"
    NOT_AT_HAND = "detections not at hand"
    OTHER_TEST = "other test"


@dataclass(frozen=True)
class Score:
    """One mean AP, 0 to 1, and its interval where recorded; the rest is None where the baseline has no such score.

    The baseline's own scores have no difference and no verdict either. The difference has an interval where the verdict
    is `Verdict.UNCLEAR` or `Verdict.CLEAR`.
    """

    value: float
    low: float | None
    high: float | None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Duration:
    """Median milliseconds for an image; ``ratio`` to the baseline's, None where they cannot be compared.

    ``elsewhere``: both were timed, in different places.
    """

    milliseconds: float
    ratio: float | None
    elsewhere: bool


@dataclass(frozen=True)
class StageRun:
    """A stage whose locked state is not the baseline's: why, and its recorded seconds."""

    stage: str
    reason: str
    seconds: float | None
    resumed: bool


@dataclass(frozen=True)
class Row:
    """One revision beside the baseline; all empty where it could not be read.

    Attributes:
        changes: of the parameters.
        scores: by metric and system.
        times: by system.
        bytes: of what the revision keeps in each group.
        added_bytes: of these, what the baseline does not have.
        runs: the stages, in the order of the lock.
    """

    revision: Revision
    changes: Sequence[Change]
    scores: Mapping[str, Mapping[str, Score]]
    times: Mapping[str, Duration]
    bytes: Mapping[str, int]
    added_bytes: int
    runs: Sequence[StageRun]


@dataclass(frozen=True)
class Comparison:
    """All rows in the order asked for; ``baseline`` is the revision of one of them, ``level`` that of the intervals."""

    baseline: Revision
    rows: Sequence[Row]
    systems: Sequence[str]
    level: float


def compare(
    revisions: Sequence[Revision], baseline: Revision, systems: Sequence[str], layout: Layout, read: Read
) -> Comparison:
    """Return each revision beside ``baseline``, which must be readable; of the systems those that any row has.

    Raises:
        InputError: a parameter of ``baseline`` by which scores are compared has a wrong value.
    """
    paired = Paired(baseline, layout, read)
    rows = [_row(revision, baseline, systems, layout, paired) for revision in revisions]
    seen = [name for name in systems if any(name in r.metrics or name in r.timing for r in revisions)]
    return Comparison(baseline, rows, seen, paired.resampling.level)


def parameter_changes(
    old: Mapping[str, Any], new: Mapping[str, Any], without_effect: frozenset[str] = frozenset(), prefix: str = ""
) -> list[Change]:
    """Return what differs under dotted keys, in the order of ``old``; a section that one side lacks is one change."""
    changes: list[Change] = []
    for name in [*old, *(name for name in new if name not in old)]:
        a, b = old.get(name, ABSENT), new.get(name, ABSENT)
        key = f"{prefix}{name}"
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            changes += parameter_changes(a, b, without_effect, f"{key}.")
        elif a != b:
            changes.append(Change(key, a, b, key.split(".")[0] not in without_effect))
    return changes


def stage_runs(baseline: Revision, revision: Revision) -> list[StageRun]:
    """Return the stages of ``revision`` whose lock entry is not the baseline's.

    An entry differs by its command, the set or the hash of an input, a parameter's value, or, all these being equal,
    the hash of an output. With the baseline's cache at hand, DVC had to run these stages and no others.
    """
    runs = []
    for name, stage in revision.stages.items():
        reason = _reason(baseline.stages.get(name), stage)
        if reason:
            cost = revision.costs.get(name, {})
            runs.append(StageRun(name, reason, cost.get("seconds"), bool(cost.get("resumed"))))
    return runs


def _row(revision: Revision, baseline: Revision, systems: Sequence[str], layout: Layout, paired: Paired) -> Row:
    if revision.problem:
        return Row(revision, [], {}, {}, {}, 0, [])
    changes = parameter_changes(baseline.parameters, revision.parameters, layout.without_effect)
    known = {output.hash for output in _outputs(baseline)}
    grouped = {group: list(_outputs(revision, folder)) for group, folder in layout.groups.items()}
    added = {output.hash: output.size or 0 for outputs in grouped.values() for output in outputs}
    return Row(
        revision=revision,
        changes=changes,
        scores={m: dict(_scores(revision, baseline, m, systems, layout, paired)) for m in METRICS},
        times={s: _duration(revision.timing[s], baseline.timing.get(s)) for s in systems if _median(revision, s)},
        bytes={g: sum(out.size or 0 for out in outputs) for g, outputs in grouped.items()} if revision.stages else {},
        added_bytes=sum(size for key, size in added.items() if key not in known),
        runs=stage_runs(baseline, revision),
    )


def _scores(
    revision: Revision, baseline: Revision, metric: str, systems: Sequence[str], layout: Layout, paired: Paired
) -> Iterator[tuple[str, Score]]:
    for system in systems:
        value = revision.metrics.get(system, {}).get(metric)
        if value is None:
            continue
        interval = _interval(revision, system, metric)
        score = Score(value, interval.get("low"), interval.get("high"))
        other = baseline.metrics.get(system, {}).get(metric)
        if other is not None and revision is not baseline:
            verdict, between = _verdict(revision, baseline, metric, system, layout, paired)
            low, high = between.get("low"), between.get("high")
            score = replace(score, difference=value - other, difference_low=low, difference_high=high, verdict=verdict)
        yield system, score


def _verdict(
    revision: Revision, baseline: Revision, metric: str, system: str, layout: Layout, paired: Paired
) -> tuple[Verdict, Mapping[str, float]]:
    """Return what a difference says and, where that is told by its interval, ``low`` and ``high`` of it."""
    here, there = (r.maker(layout.metrics.format(system)) for r in (revision, baseline))
    if here is None or there is None:
        return Verdict.NOT_AT_HAND, {}
    if _test(here, layout) != _test(there, layout):
        return Verdict.OTHER_TEST, {}
    found = layout.detections.format(system)
    if here.inputs.get(found) == there.inputs.get(found):
        # Another score for the same detections: the code that evaluates was another.
        same = revision.metrics[system][metric] == baseline.metrics[system][metric]
        return (Verdict.SAME if same else Verdict.OTHER_TEST), {}
    interval = paired.intervals(revision, system).get(metric)
    if interval is None:
        return Verdict.NOT_AT_HAND, {}
    return (Verdict.UNCLEAR if interval["low"] <= 0 <= interval["high"] else Verdict.CLEAR), interval


def _test(evaluation: LockedStage, layout: Layout) -> tuple[str | None, Any]:
    """Return what a score depends on beside the detections: the test images and the overlap of a correct one."""
    return evaluation.inputs.get(layout.test_images), evaluation.parameters.get(layout.resampling["iou"])


def _interval(revision: Revision, system: str, metric: str) -> Mapping[str, float | None]:
    return (revision.metrics.get(system, {}).get("intervals") or {}).get(metric) or {}


def _median(revision: Revision, system: str) -> float | None:
    return revision.timing.get(system, {}).get("total_median")


def _duration(timing: Mapping[str, Any], reference: Mapping[str, Any] | None) -> Duration:
    median, other = timing["total_median"], (reference or {}).get("total_median")
    elsewhere = other is not None and any(timing.get(key) != (reference or {}).get(key) for key in PLACE)
    return Duration(1e3 * median, median / other if other and not elsewhere else None, elsewhere)


def _outputs(revision: Revision, folder: str = "") -> Iterator[Output]:
    for stage in revision.stages.values():
        for path, output in stage.outputs.items():
            if not folder or path == folder or path.startswith(f"{folder}/"):
                yield output


def _reason(old: LockedStage | None, new: LockedStage) -> str:
    if old is None:
        return "not in the baseline"
    parameters = [change.key for change in parameter_changes(old.parameters, new.parameters)]
    inputs = [path for path in [*old.inputs, *new.inputs] if old.inputs.get(path) != new.inputs.get(path)]
    parts = ["command"] if old.command != new.command else []
    parts += dict.fromkeys([*parameters, *inputs])
    if not parts and old.outputs != new.outputs:
        parts = ["run again: same inputs, another result"]
    return ", ".join(parts)
