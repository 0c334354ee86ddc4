"""Revisions compared with a baseline: parameters, scores and their significance, times, bytes, stages that ran."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.compare.bootstrap import Files, PairedBootstrap
from pipeline.compare.revisions import HEAD, WORKSPACE, LockedStage, Output, Revision, open_project
from pipeline.compare.scores import Scores, Spreads, scores, spreads
from pipeline.compare.seeds import by_seed, groups, seed
from pipeline.core.errors import InputError

# The experiment that `make repro` keeps: the first run at a commit.
BASELINE = "baseline"

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
        elsewhere: whether all its figures come from another machine than the baseline's.
        scores: by metric and system, compared with the baseline's run of the same seed where there is one.
        times: by system.
        bytes: of the outputs below each of `GROUPS`.
        added_bytes: of these, those of content that the baseline does not have.
        runs: the stages that differ; none where all were made elsewhere.
    """

    revision: Revision
    changes: Sequence[Change]
    elsewhere: bool
    scores: Scores
    times: Mapping[str, Duration]
    bytes: Mapping[str, int]
    added_bytes: int
    runs: Sequence[StageRun]


@dataclass(frozen=True)
class Group:
    """Runs that differ in the seed alone; ``spreads`` by metric and system, empty where they have one seed."""

    rows: Sequence[Row]
    spreads: Spreads


@dataclass(frozen=True)
class Comparison:
    """Groups in the order asked for; ``baseline`` is the revision of one row, ``level`` that of the intervals."""

    baseline: Revision
    groups: Sequence[Group]
    systems: Sequence[str]
    level: float

    @property
    def rows(self) -> list[Row]:
        """The rows of all groups."""
        return [row for group in self.groups for row in group.rows]


def compare(names: Sequence[str], baseline: str | None, systems: Sequence[str]) -> Comparison:
    """Compare revisions of the project around the current folder.

    Args:
        names: of the revisions; without any: HEAD, the workspace where it differs, and the experiments on top of HEAD.
        baseline: of the one to compare with. None: the first of ``names`` that can be read or, without names, HEAD or,
            where another machine than the workspace's made that, the experiment `BASELINE` or the oldest from here.
        systems: those to show.

    Raises:
        InputError: there is no project, or no baseline that can be read, or the baseline's parameters by which scores
            are compared have a wrong value.
    """
    with open_project() as project:
        requested = [*([baseline] if baseline else []), *(names or project.default_names())]
        revisions = [project.read(name, systems) for name in dict.fromkeys(requested)]
        candidates = [revision for revision in revisions if baseline in (None, revision.name)]
        readable = [revision for revision in candidates if not revision.problem]
        if not readable:
            subject = "the baseline cannot" if baseline else "none of the revisions can"
            problems = " ".join(f"{revision.name}: {revision.problem}" for revision in candidates)
            raise InputError(f"{subject} be read; {problems}")
        chosen = readable[0] if names else _made_here(readable)
        return compare_revisions(revisions if names else _listed(revisions, chosen), chosen, systems, project.file)


def _made_here(readable: Sequence[Revision]) -> Revision:
    """Return what runs of the workspace's machine are compared with: HEAD if made there, or else the first run."""
    workspace = next((revision for revision in readable if revision.name == WORKSPACE), readable[0])

    def rank(revision: Revision) -> tuple[bool, ...]:
        usable = bool(revision.metrics) and not revision.all_made_elsewhere(workspace)
        return (not usable, revision.name != HEAD, revision.name != BASELINE, not revision.commit)

    return min(readable, key=rank)


def _listed(revisions: Sequence[Revision], baseline: Revision) -> list[Revision]:
    """Return the baseline first and what was made elsewhere last; workspace and `BASELINE` only where they differ."""
    others = [r for r in revisions if r is not baseline]
    named = [baseline, *(r for r in others if r.name not in (WORKSPACE, BASELINE))]
    shown = [r for r in others if r in named or not any(r.equals(other) for other in named)]
    return [baseline, *sorted(shown, key=lambda revision: revision.all_made_elsewhere(baseline))]


def compare_revisions(
    revisions: Sequence[Revision], baseline: Revision, systems: Sequence[str], files: Files
) -> Comparison:
    """Compare ``revisions`` with ``baseline``, which must be readable, in those of ``systems`` that any of them has.

    Raises:
        InputError: a parameter of ``baseline`` by which scores are compared has a wrong value.
    """
    bootstrap = PairedBootstrap(baseline, files)
    dealt = groups(revisions)
    baselines = next((group for group in dealt if baseline in group), [baseline])
    references = by_seed([baseline, *baselines])

    def row(revision: Revision) -> Row:
        own = any(revision is reference for reference in references.values())
        reference = revision if own else references.get(seed(revision), baseline)
        return _row(revision, baseline, scores(revision, reference, systems, bootstrap), systems)

    compared = [Group([row(r) for r in group], spreads(group, baselines, systems, bootstrap)) for group in dealt]
    present = [name for name in systems if any(name in r.metrics or name in r.timing for r in revisions)]
    return Comparison(baseline, compared, present, bootstrap.level)


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


def _row(revision: Revision, baseline: Revision, scores: Scores, systems: Sequence[str]) -> Row:
    if revision.problem:
        return Row(revision, [], False, {}, {}, {}, 0, [])
    elsewhere = revision.all_made_elsewhere(baseline)
    known = {output.hash for _, output in _outputs(baseline)}
    groups = {group: [output for path, output in _outputs(revision) if path.split("/")[0] == group] for group in GROUPS}
    added = {output.hash: output.size or 0 for outputs in groups.values() for output in outputs}
    timed = [system for system in systems if revision.timing.get(system, {}).get("total_median")]
    return Row(
        revision=revision,
        changes=parameter_changes(baseline.parameters, revision.parameters),
        elsewhere=elsewhere,
        scores=scores,
        times={system: _duration(revision.timing[system], baseline.timing.get(system, {})) for system in timed},
        bytes={g: sum(output.size or 0 for output in outputs) for g, outputs in groups.items() if revision.stages},
        added_bytes=sum(size for key, size in added.items() if key not in known),
        runs=[] if elsewhere else stage_runs(baseline, revision),
    )


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
