"""What one revision of the project holds: parameters, scores, times, curves, and the stages as DVC locked them."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from pipeline import yaml_text
from pipeline.core.errors import InputError

Point = tuple[float, float]


@dataclass(frozen=True)
class Layout:
    """Where a project keeps what is compared, relative to its root; ``{}`` stands for a system's name.

    Attributes:
        params: the parameters, YAML.
        pipeline: the graph; the lock keeps entries of stages that it no longer has.
        lock: what DVC wrote after each stage.
        metrics: figures of a system, JSON (`pipeline.evaluation.metrics.metrics`).
        timing: test times of a system, JSON (`pipeline.timing`).
        curves: precision over recall of a system, CSV (`pipeline.evaluation.metrics.write_curves`).
        costs: folder of the stages' costs, JSON (`pipeline.core.costs`).
        detections: what a system found in the test images.
        test_images: the index of the test split.
        resampling: dotted keys of the parameters by which scores are compared, by field of `Resampling`.
        groups: folders whose sizes are added up, by the name to show.
        without_effect: first parts of parameters that change no result.
    """

    params: str
    pipeline: str
    lock: str
    metrics: str
    timing: str
    curves: str
    costs: str
    detections: str
    test_images: str
    resampling: Mapping[str, str]
    groups: Mapping[str, str]
    without_effect: frozenset[str]


@dataclass(frozen=True)
class Output:
    """An output of a stage: its hash, and its size in bytes where the lock tells it."""

    hash: str
    size: int | None


@dataclass(frozen=True)
class LockedStage:
    """One entry of ``dvc.lock``: hashes by path, parameters by dotted key."""

    command: str
    inputs: Mapping[str, str]
    parameters: Mapping[str, Any]
    outputs: Mapping[str, Output]


@dataclass(frozen=True)
class Revision:
    """A commit, an experiment or the workspace.

    Attributes:
        name: as it was asked for.
        commit: its hash, empty for the workspace.
        problem: why it could not be read, as a sentence; everything below is empty then.
        parameters: nested, as in ``params.yaml``.
        metrics: by system, those that were evaluated.
        timing: by system, those that were timed.
        costs: by stage, those that recorded them and whose record is in DVC's cache.
        curves: by system and class, points (recall, precision).
        stages: by name, in the order of the graph.
    """

    name: str
    commit: str = ""
    problem: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    timing: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    costs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    curves: Mapping[str, Mapping[str, Sequence[Point]]] = field(default_factory=dict)
    stages: Mapping[str, LockedStage] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name with the first digits of the commit, where they are not the name itself."""
        return f"{self.name} ({self.commit[:7]})" if self.commit and self.name[:7] != self.commit[:7] else self.name

    def parameter(self, key: str) -> Any:
        """Return the value of a dotted key; None where there is none."""
        value: Any = self.parameters
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def maker(self, path: str) -> LockedStage | None:
        """Return the stage that wrote ``path``."""
        return next((stage for stage in self.stages.values() if path in stage.outputs), None)

    def holds_the_same_as(self, other: "Revision") -> bool:
        """Say whether two revisions would fill the same row."""
        return replace(self, name="", commit="") == replace(other, name="", commit="")

    def not_run_with_parameters(self) -> list[str]:
        """Return the stages that were last run with other parameters than this revision's."""
        return [
            name
            for name, stage in self.stages.items()
            if any(self.parameter(key) != value for key, value in stage.parameters.items())
        ]


def parse_mapping(text: str, file: str) -> dict[str, Any]:
    """Return the mapping in a YAML or JSON file, by the end of its name; an empty YAML file is an empty one.

    Raises:
        InputError: it holds something else.
    """
    try:
        content = json.loads(text) if file.endswith(".json") else yaml_text.parse(text, file)
    except json.JSONDecodeError as error:
        raise InputError(f"{file}: not readable as JSON: {error}.") from error
    if not isinstance(content, dict | None):
        raise InputError(f"{file}: found a {type(content).__name__}, expected keys with values.")
    return content or {}


def parse_lock(text: str, file: str) -> dict[str, LockedStage]:
    """Return the stages of a ``dvc.lock`` by name.

    A long lock takes seconds to parse and differs by a few entries from one revision to the next, so each entry is
    parsed once. Where the text is not laid out as DVC writes it, it is parsed as a whole.

    Raises:
        InputError: it is no lock.
    """
    head, _, body = text.partition("stages:\n")
    as_dvc_writes = head == "schema: '2.0'\n" and not re.search(r"^\S", body, re.MULTILINE)
    entries = re.split(r"^(?=  \S)", body, flags=re.MULTILINE)[1:]
    try:
        if as_dvc_writes:
            return {name: stage for entry in entries for name, stage in _stages(entry, file)}
        return {name: _stage(entry) for name, entry in parse_mapping(text, file).get("stages", {}).items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{file}: its stages do not look as DVC 3 writes them.") from error


def parse_curves(text: str, file: str) -> dict[str, list[Point]]:
    """Return the points (recall, precision) of each class.

    Raises:
        InputError: a column is missing or holds no number.
    """
    curves: dict[str, list[Point]] = {}
    try:
        for row in csv.DictReader(io.StringIO(text)):
            curves.setdefault(row["class"], []).append((float(row["recall"]), float(row["precision"])))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: the columns class, recall and precision are expected, with numbers.") from error
    return curves


@cache
def _stages(text: str, file: str) -> tuple[tuple[str, LockedStage], ...]:
    return tuple((name, _stage(entry)) for name, entry in parse_mapping(text, file).items())


def _stage(entry: Mapping[str, Any]) -> LockedStage:
    command = entry["cmd"]
    return LockedStage(
        command=command if isinstance(command, str) else "\n".join(command),
        inputs={item["path"]: _hash(item) for item in entry.get("deps", ())},
        parameters={key: value for values in entry.get("params", {}).values() for key, value in values.items()},
        outputs={item["path"]: Output(_hash(item), item.get("size")) for item in entry.get("outs", ())},
    )


def _hash(item: Mapping[str, Any]) -> str:
    return next((item[name] for name in ("md5", "etag", "checksum") if name in item), "")
