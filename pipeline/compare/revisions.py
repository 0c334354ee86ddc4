"""Reading revisions of the project: commits, branches, tags, experiments and the workspace.

A file comes from the revision's tree in Git, or, where DVC tracks it, from DVC's cache by the hash in that revision's
lock. The locks are needed for the stages anyway. A revision of 50 stages takes 0.4 s of CPU time, and 0.01 s where its
locks equal those of one read before; `DVCFileSystem` takes about 0.6 s for a dozen files of each revision, without the
stages. Nothing is checked out, written or downloaded, and no lock is taken, so a pipeline may run meanwhile.
"""

import csv
import hashlib
import io
import json
import posixpath
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml import YAML, YAMLError

from pipeline.core.errors import InputError
from pipeline.core.machine import described
from pipeline.presets import nested
from pipeline.registry import all_systems

WORKSPACE = "workspace"
HEAD = "HEAD"
PARAMS = "params.yaml"
# Of each system.
METRICS = "reports/metrics/{}.json"
SCORES = "reports/scores/{}.json"
TIMING = "reports/timing/{}.json"
PRECISION_RECALL = "reports/precision_recall/{}.csv"
DETECTIONS = "detections/{}.json"
TEST_IMAGES = "data/index/test.json"
# A stage that records its cost has an output below this folder, with cost.json in it.
STAGE_REPORTS = "reports/stages"

Point = tuple[float, float]


@dataclass(frozen=True)
class Output:
    """An output of a stage: its hash, and its size in bytes where the lock has it."""

    hash: str
    size: int | None


@dataclass(frozen=True)
class LockedStage:
    """One entry of a ``dvc.lock``: hashes by path from the project's root, parameters and sections by dotted key."""

    command: str
    inputs: Mapping[str, str]
    parameters: Mapping[str, Any]
    outputs: Mapping[str, Output]

    def parameter(self, key: str) -> Any:
        """Return the value of a dotted key, locked itself or with its section; None where there is none."""
        values = (
            nested(value, key[len(name) + 1 :])
            for name, value in self.parameters.items()
            if f"{key}.".startswith(f"{name}.")
        )
        return next(values, None)


@dataclass(frozen=True)
class Revision:
    """A commit, an experiment or the workspace.

    Attributes:
        name: as it was asked for.
        commit: its hash, empty for the workspace.
        problem: why it could not be read, as a sentence; everything below is empty then.
        parameters: nested, as in ``params.yaml``.
        metrics: by system, those that were evaluated; where DVC's cache lacks them, the two mean APs that are in Git.
        made_on: by system of these, the machines that made its detections (`pipeline.core.machine`); empty if unknown.
        timing: by system, those that were timed.
        curves: by system and class, points (recall, precision).
        costs: by stage, of those whose record can be read.
        stages: in the order of the graph; a system's are called ``SYSTEM/STAGE``.
    """

    name: str
    commit: str = ""
    problem: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    made_on: Mapping[str, Sequence[str]] = field(default_factory=dict)
    timing: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    curves: Mapping[str, Mapping[str, Sequence[Point]]] = field(default_factory=dict)
    costs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    stages: Mapping[str, LockedStage] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name with the first digits of the commit, where they are not the name itself."""
        return f"{self.name} ({self.commit[:7]})" if self.commit and self.name[:7] != self.commit[:7] else self.name

    def parameter(self, key: str) -> Any:
        """Return the value of a dotted key; None where there is none."""
        return nested(self.parameters, key)

    def producer(self, path: str) -> LockedStage | None:
        """Return the stage that has ``path`` among its outputs."""
        return next((stage for stage in self.stages.values() if path in stage.outputs), None)

    def made_elsewhere(self, other: "Revision", system: str) -> bool:
        """Return whether a system's figures come from another machine, or library, than another revision's."""
        return self.made_on.get(system) != other.made_on.get(system)

    def all_made_elsewhere(self, other: "Revision") -> bool:
        """Return whether this is so for all systems that both evaluated, of which there is one at least."""
        common = self.metrics.keys() & other.metrics.keys()
        return bool(common) and all(self.made_elsewhere(other, system) for system in common)

    def equals(self, other: "Revision") -> bool:
        """Return whether two revisions differ in nothing but their names and commits."""
        return replace(self, name="", commit="") == replace(other, name="", commit="")

    def outdated(self) -> list[str]:
        """Return the stages that last ran with other parameters than this revision's."""
        return [
            name
            for name, stage in self.stages.items()
            if any(self.parameter(key) != value for key, value in stage.parameters.items())
        ]


@contextmanager
def open_project() -> Iterator["Project"]:
    """Give the DVC project around the current folder.

    Raises:
        InputError: the current folder is in no DVC project, or that is in no Git repository.
    """
    from dvc.config import Config

    here = Path.cwd()
    root = next((folder for folder in (here, *here.parents) if (folder / ".dvc").is_dir()), None)
    if root is None:
        raise InputError("this folder is in no DVC project; run the command in the project's folder.")
    if subprocess.run(["git", "rev-parse"], cwd=root, capture_output=True, check=False).returncode:
        raise InputError(f"{root}: is in no Git repository; one with a commit for each run would be right.")
    folder = Path(Config(str(root / ".dvc")).get("cache", {}).get("dir") or root / ".dvc/cache")
    pipe = subprocess.PIPE
    with (
        TemporaryDirectory() as copies,
        subprocess.Popen(
            ["git", "cat-file", "--batch"], cwd=root, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
        ) as blobs,
    ):
        yield Project(root, folder / "files/md5", blobs, Path(copies))


class Project:
    """Reads the revisions of one project; made by `open_project`."""

    def __init__(self, root: Path, cached: Path, blobs: subprocess.Popen, copies: Path) -> None:
        self._root, self._cache, self._blobs, self._copies = root, cached, blobs, copies

    def default_names(self) -> list[str]:
        """Return HEAD, the workspace, and the experiments on top of HEAD, oldest first; without a commit the second."""
        head = self._git("rev-parse", "--verify", "--quiet", "HEAD")
        return [HEAD, WORKSPACE, *self._experiments(f"{head[:2]}/{head[2:]}")] if head else [WORKSPACE]

    def read(self, name: str, systems: Iterable[str]) -> Revision:
        """Return a revision with the figures of those of ``systems`` that it lists or, listing none, has.

        One that cannot be read has a `Revision.problem`.
        """
        commit = ""
        try:
            commit = self._commit(name)
            if commit and self._tracked(commit, ".dvc") is None:
                raise InputError("At this commit there was no DVC project in this folder.")
            return self._revision(name, commit, systems)
        except (InputError, OSError, UnicodeDecodeError) as error:
            return Revision(name, commit, problem=" ".join(str(error).split()))

    def file(self, revision: Revision, path: str, md5: str) -> Path | None:
        """Return a file with the content of ``path`` that has this hash; None where neither cache nor tree has it.

        It may be a copy that is gone when the project is closed.
        """
        cached = self._cached(md5)
        if cached.is_file():
            return cached
        content = self._tracked(revision.commit, path)
        if content is None or hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
            return None
        copy = self._copies / md5
        copy.write_bytes(content)
        return copy

    def _revision(self, name: str, commit: str, systems: Iterable[str]) -> Revision:
        parameters = self._mapping(commit, PARAMS) or {}
        listed = parameters.get("systems")
        present = [system for system in all_systems() if not isinstance(listed, list) or system in listed]
        stages = self._stages(commit, parameters, present)
        outputs = {path: output for stage in stages.values() for path, output in stage.outputs.items()}

        def mappings(paths: Mapping[str, str]) -> dict[str, dict[str, Any]]:
            read = {key: self._mapping(commit, path, outputs) for key, path in paths.items()}
            return {key: content for key, content in read.items() if content is not None}

        shown = [system for system in systems if system in present]
        reports = {
            name: f"{path}/cost.json"
            for name, stage in stages.items()
            for path in stage.outputs
            if path.startswith(f"{STAGE_REPORTS}/")
        }
        scores = {s: file.get(s, {}) for s, file in mappings({s: SCORES.format(s) for s in shown}).items()}
        timing = mappings({system: TIMING.format(system) for system in shown})
        metrics = scores | mappings({system: METRICS.format(system) for system in shown})
        curves = {system: self._text(commit, PRECISION_RECALL.format(system), outputs) for system in shown}
        return Revision(
            name,
            commit,
            parameters=parameters,
            metrics=metrics,
            made_on={s: _made_on(scores.get(s, {}), timing.get(s, {})) for s in metrics},
            timing=timing,
            curves={s: _curves(text, PRECISION_RECALL.format(s)) for s, text in curves.items() if text is not None},
            costs=mappings(reports),
            stages=stages,
        )

    def _stages(self, commit: str, parameters: Mapping[str, Any], systems: Sequence[str]) -> dict[str, LockedStage]:
        """Return the locked stages that the graphs have; DVC never removes the entries of others from its locks."""
        stages: dict[str, LockedStage] = {}
        for folder, prefix in [("", ""), *((f"systems/{system}/", f"{system}/") for system in systems)]:
            graph, lock = self._mapping(commit, f"{folder}dvc.yaml"), self._mapping(commit, f"{folder}dvc.lock")
            if not graph or not lock:
                continue
            try:
                locked = lock.get("stages", {})
                for name, entry in graph.get("stages", {}).items():
                    place = posixpath.join(folder, entry.get("wdir", ""))
                    for full in _expanded(name, entry, parameters, locked):
                        stages[f"{prefix}{full}"] = _stage(locked[full], place)
            except (AttributeError, KeyError, TypeError) as error:
                message = "the stages do not look as DVC 3 writes them."
                raise InputError(f"{folder}dvc.yaml, {folder}dvc.lock: {message}") from error
        return stages

    def _mapping(self, commit: str, path: str, outputs: Mapping[str, Output] | None = None) -> dict[str, Any] | None:
        text = self._text(commit, path, outputs)
        return None if text is None else _parsed(text, path)

    def _text(self, commit: str, path: str, outputs: Mapping[str, Output] | None = None) -> str | None:
        """Return a file's content; None where neither the tree nor, among ``outputs``, DVC's cache has it."""
        content = self._tracked(commit, path)
        if content is None and outputs:
            content = self._output(path, outputs)
        return None if content is None else content.decode("utf-8").replace("\r\n", "\n")

    def _output(self, path: str, outputs: Mapping[str, Output]) -> bytes | None:
        place = next((p for p in (path, *map(str, PurePosixPath(path).parents)) if p in outputs), None)
        if place is None:
            return None
        file = self._cached(outputs[place].hash)
        if place != path and file.is_file():  # a folder is cached as the list of its files
            inside = posixpath.relpath(path, place)
            md5 = next((item["md5"] for item in json.loads(file.read_bytes()) if item["relpath"] == inside), "")
            file = self._cached(md5)
        return file.read_bytes() if file.is_file() else None

    def _cached(self, md5: str) -> Path:
        return self._cache / md5[:2] / md5[2:]

    def _tracked(self, commit: str, path: str) -> bytes | None:
        """Return the content of a file in a commit or, where that is empty, in the workspace."""
        if not commit:
            file = self._root / path
            return file.read_bytes() if file.is_file() else None
        assert self._blobs.stdin is not None
        assert self._blobs.stdout is not None
        self._blobs.stdin.write(f"{commit}:./{path}\n".encode())
        self._blobs.stdin.flush()
        # "HASH KIND SIZE", the content and a line break; or "NAME missing".
        head = self._blobs.stdout.readline().split()
        return None if head[-1] == b"missing" else self._blobs.stdout.read(int(head[-1]) + 1)[:-1]

    def _commit(self, name: str) -> str:
        if name == WORKSPACE:
            return ""
        commit = self._git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}") or self._experiments().get(name)
        if not commit:
            raise InputError("Unknown revision: no commit, branch, tag or experiment has this name.")
        return commit

    def _experiments(self, base: str = "*/*") -> dict[str, str]:
        """Return the commits of experiments by name, oldest first; of two with one name the younger."""
        pattern = f"refs/exps/{base}/*"
        lines = self._git("for-each-ref", "--sort=committerdate", "--format=%(objectname) %(refname)", pattern)
        return {line.rpartition("/")[2]: line.partition(" ")[0] for line in lines.splitlines()}

    def _git(self, *arguments: str) -> str:
        """Return what Git prints; nothing where it fails."""
        run = subprocess.run(["git", *arguments], cwd=self._root, capture_output=True, text=True, check=False)
        return run.stdout.strip() if run.returncode == 0 else ""


@cache
def _parsed(text: str, file: str) -> dict[str, Any]:
    """Return the mapping in a YAML or JSON file, an empty one for an empty file; equal files are parsed once."""
    try:
        content = json.loads(text) if file.endswith(".json") else YAML(typ="safe", pure=True).load(text)
    except (json.JSONDecodeError, YAMLError) as error:
        kind = "JSON" if file.endswith(".json") else "YAML"
        raise InputError(f"{file}: not readable as {kind}: {error}.") from error
    if not isinstance(content, dict | None):
        raise InputError(f"{file}: found a {type(content).__name__}, expected keys with values.")
    return content or {}


def _curves(text: str, file: str) -> dict[str, list[Point]]:
    curves: dict[str, list[Point]] = {}
    try:
        for row in csv.DictReader(io.StringIO(text)):
            curves.setdefault(row["class"], []).append((float(row["recall"]), float(row["precision"])))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: the columns class, recall and precision are expected, with numbers.") from error
    return curves


def _made_on(scores: Mapping[str, Any], timing: Mapping[str, Any]) -> list[str]:
    """Return the machines that made a system's figures; for runs that kept no record, the one that timed the system."""
    if "made_on" in scores:
        return list(scores["made_on"])
    known = {"device_name", "device", "threads", "torch"} <= timing.keys()
    return [described(timing["device_name"], timing["device"], timing["threads"], timing["torch"])] if known else []


def _expanded(
    name: str, entry: Mapping[str, Any], parameters: Mapping[str, Any], locked: Mapping[str, Any]
) -> list[str]:
    """Return the names in a lock that an entry of ``dvc.yaml`` stands for: of a matrix one for each combination.

    Where its values are neither a list nor a parameter, all that the lock has.
    """
    if "matrix" not in entry and "foreach" not in entry:
        return [name] if name in locked else []
    axes = [
        nested(parameters, axis[2:-1]) if isinstance(axis, str) else axis
        for axis in entry.get("matrix", {"": None}).values()
    ]
    if not all(isinstance(axis, list) for axis in axes):
        return [full for full in locked if full.startswith(f"{name}@")]
    return [full for keys in product(*axes) if (full := f"{name}@{'-'.join(map(str, keys))}") in locked]


def _stage(entry: Mapping[str, Any], folder: str) -> LockedStage:
    """Return an entry of a lock whose paths are relative to ``folder``."""

    def place(item: Mapping[str, Any]) -> str:
        return posixpath.normpath(posixpath.join(folder, item["path"]))

    command = entry["cmd"]
    return LockedStage(
        command=command if isinstance(command, str) else "\n".join(command),
        inputs={place(item): _hash(item) for item in entry.get("deps", ())},
        parameters={key: value for values in entry.get("params", {}).values() for key, value in values.items()},
        outputs={place(item): Output(_hash(item), item.get("size")) for item in entry.get("outs", ())},
    )


def _hash(item: Mapping[str, Any]) -> str:
    return next((item[name] for name in ("md5", "etag", "checksum") if name in item), "")
