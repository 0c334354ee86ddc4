"""Revisions compared with a baseline: parameters, scores and their significance, times, bytes, stages that ran."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from pipeline.compare.bootstrap import Files, PairedBootstrap
from pipeline.compare.revisions import (
    DETECTIONS,
    METRICS,
    TEST_IMAGES,
    WORKSPACE,
    LockedStage,
    Output,
    Revision,
    open_project,
)
from pipeline.core.errors import InputError
from pipeline.evaluation.bootstrap import NAMES

Interval = tuple[float, float]

# The folders whose sizes are added up.
GROUPS = ("data", "proposals", "features", "models", "detections")
# Sections of the parameters that change no result.
WITHOUT_EFFECT = {"runtime"}
# Where a time was measured; times from different places are not compared.
PLACE = ("device", "device_name", "threads")


class Absent:
    """The value of a parameter that a revision does not have."""


ABSENT = Absent()


@dataclass(frozen=True)
class Change:
    """A parameter, or a whole section that only one side has."""

    key: str
    old: Any
    new: Any


class Verdict(StrEnum):
    """How a score compares with the baseline's."""

    SAME = "same detections"
    UNCLEAR = "interval holds zero"
    CLEAR = "interval without zero"
    UNAVAILABLE = "detections not at hand"
    OTHER_TEST = "other test"


@dataclass(frozen=True)
class Score:
    """One mean AP, 0 to 1, with its interval where recorded.

    The baseline's scores have no difference and no verdict, nor have those of systems that the baseline lacks. The
    difference has an interval where the verdict is `Verdict.UNCLEAR` or `Verdict.CLEAR`.
    """

    value: float
    interval: Interval | None
    difference: float | None = None
    difference_interval: Interval | None = None
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
    """A stage whose locked state is not the baseline's: why, and its recorded seconds.

    ``resumed``: an earlier run had done a part, which the seconds do not count.
    """

    stage: str
    reason: str
    seconds: float | None
    resumed: bool


@dataclass(frozen=True)
class Row:
    """One revision compared with the baseline; all empty where it could not be read.

    Attributes:
        changes: of the parameters.
        scores: by metric and system.
        times: by system.
        bytes: of the outputs below each of `GROUPS`.
        added_bytes: of these, those of content that the baseline does not have.
        runs: the stages that differ.
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


def compare(names: Sequence[str], baseline: str | None, systems: Sequence[str]) -> Comparison:
    """Compare revisions of the project around the current folder.

    Args:
        names: of the revisions; without any: HEAD, the workspace where it differs, and the experiments on top of HEAD.
        baseline: of the one to compare with; None for the first that can be read.
        systems: those to show.

    Raises:
        InputError: there is no project, or no baseline that can be read, or the baseline's parameters by which scores
            are compared have a wrong value.
    """
    with open_project() as project:
        requested = [*([baseline] if baseline else []), *(names or project.default_names())]
        revisions = [project.read(name, systems) for name in dict.fromkeys(requested)]
        if not names and baseline != WORKSPACE:
            committed = [revision for revision in revisions if revision.name != WORKSPACE]
            revisions = [r for r in revisions if r in committed or not any(r.equals(other) for other in committed)]
        candidates = [revision for revision in revisions if baseline in (None, revision.name)]
        readable = [revision for revision in candidates if not revision.problem]
        if not readable:
            subject = "the baseline cannot" if baseline else "none of the revisions can"
            problems = " ".join(f"{revision.name}: {revision.problem}" for revision in candidates)
            raise InputError(f"{subject} be read; {problems}")
        return compare_revisions(revisions, readable[0], systems, project.file)


def compare_revisions(
    revisions: Sequence[Revision], baseline: Revision, systems: Sequence[str], files: Files
) -> Comparison:
    """Compare ``revisions`` with ``baseline``, which must be readable, in those of ``systems`` that any of them has.

    Raises:
        InputError: a parameter of ``baseline`` by which scores are compared has a wrong value.
    """
    bootstrap = PairedBootstrap(baseline, files)
    rows = [_row(revision, baseline, systems, bootstrap) for revision in revisions]
    present = [name for name in systems if any(name in r.metrics or name in r.timing for r in revisions)]
    return Comparison(baseline, rows, present, bootstrap.level)


def parameter_changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[Change]:
    """Return the differences by dotted key, in the order of ``old``; a section that one side lacks is one change."""
    changes: list[Change] = []
    for name in [*old, *(name for name in new if name not in old)]:
        a, b = old.get(name, ABSENT), new.get(name, ABSENT)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            changes += parameter_changes(a, b, f"{prefix}{name}.")
        elif a != b:
            changes.append(Change(f"{prefix}{name}", a, b))
    return changes


def stage_runs(baseline: Revision, revision: Revision) -> list[StageRun]:
    """Return the stages of ``revision`` whose lock entry is not the baseline's.

    An entry differs by its command, the set or the hash of an input, a parameter's value, or, all these being equal,
    the hash of an output. With the baseline's cache at hand, DVC had to run these stages and no others.
    """
    runs = []
    for name, stage in revision.stages.items():
        if reason := _reason(baseline.stages.get(name), stage):
            cost = revision.costs.get(name, {})
            runs.append(StageRun(name, reason, cost.get("seconds"), bool(cost.get("resumed"))))
    return runs


def _row(revision: Revision, baseline: Revision, systems: Sequence[str], bootstrap: PairedBootstrap) -> Row:
    if revision.problem:
        return Row(revision, [], {}, {}, {}, 0, [])
    known = {output.hash for _, output in _outputs(baseline)}
    groups = {group: [output for path, output in _outputs(revision) if path.split("/")[0] == group] for group in GROUPS}
    added = {output.hash: output.size or 0 for outputs in groups.values() for output in outputs}
    timed = [system for system in systems if revision.timing.get(system, {}).get("total_median")]
    return Row(
        revision=revision,
        changes=parameter_changes(baseline.parameters, revision.parameters),
        scores={metric: dict(_scores(revision, baseline, metric, systems, bootstrap)) for metric in NAMES},
        times={system: _duration(revision.timing[system], baseline.timing.get(system, {})) for system in timed},
        bytes={g: sum(output.size or 0 for output in outputs) for g, outputs in groups.items() if revision.stages},
        added_bytes=sum(size for key, size in added.items() if key not in known),
        runs=stage_runs(baseline, revision),
    )


def _scores(
    revision: Revision, baseline: Revision, metric: str, systems: Sequence[str], bootstrap: PairedBootstrap
) -> Iterator[tuple[str, Score]]:
    for system in systems:
        metrics, reference = revision.metrics.get(system, {}), baseline.metrics.get(system, {})
        if metrics.get(metric) is None:
            continue
        score = Score(metrics[metric], _interval((metrics.get("intervals") or {}).get(metric)))
        if reference.get(metric) is not None and revision is not baseline:
            verdict, interval = _verdict(revision, baseline, metric, system, bootstrap)
            change = score.value - reference[metric]
            score = replace(score, difference=change, difference_interval=interval, verdict=verdict)
        yield system, score


def _verdict(
    revision: Revision, baseline: Revision, metric: str, system: str, bootstrap: PairedBootstrap
) -> tuple[Verdict, Interval | None]:
    """Return the verdict on a difference and, where its interval decides, that interval."""
    here, there = (r.producer(METRICS.format(system)) for r in (revision, baseline))
    if here is None or there is None:
        return Verdict.UNAVAILABLE, None
    if _test(here) != _test(there):
        return Verdict.OTHER_TEST, None
    if here.inputs.get(DETECTIONS.format(system)) == there.inputs.get(DETECTIONS.format(system)):
        # Another score for the same detections: the code that evaluates was another.
        same = revision.metrics[system][metric] == baseline.metrics[system][metric]
        return (Verdict.SAME if same else Verdict.OTHER_TEST), None
    interval = _interval(bootstrap.intervals(revision, system).get(metric))
    if interval is None:
        return Verdict.UNAVAILABLE, None
    return (Verdict.UNCLEAR if interval[0] <= 0 <= interval[1] else Verdict.CLEAR), interval


def _interval(limits: Mapping[str, float] | None) -> Interval | None:
    return (limits["low"], limits["high"]) if limits else None


def _test(evaluation: LockedStage) -> tuple[str | None, Any]:
    """Return what a score depends on beside the detections: the test images and the overlap of a correct one."""
    return evaluation.inputs.get(TEST_IMAGES), evaluation.parameter("evaluation.iou")


def _duration(timing: Mapping[str, Any], reference: Mapping[str, Any]) -> Duration:
    median, other = timing["total_median"], reference.get("total_median")
    elsewhere = bool(other) and any(timing.get(key) != reference.get(key) for key in PLACE)
    return Duration(1e3 * median, median / other if other and not elsewhere else None, elsewhere)


def _outputs(revision: Revision) -> Iterator[tuple[str, Output]]:
    return (item for stage in revision.stages.values() for item in stage.outputs.items())


def _reason(old: LockedStage | None, new: LockedStage) -> str:
    """Return what differs between two lock entries, in words; nothing where they are equal."""
    if old is None:
        return "not in the baseline"
    parts = ["command"] if old.command != new.command else []
    parts += [change.key for change in parameter_changes(old.parameters, new.parameters)]
    parts += [path for path in [*old.inputs, *new.inputs] if old.inputs.get(path) != new.inputs.get(path)]
    if not parts and old.outputs != new.outputs:
        parts = ["run again: same inputs, another result"]
    return ", ".join(dict.fromkeys(parts))
