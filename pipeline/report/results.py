"""Everything that the report shows, read from the files of a finished run into one object."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline.core.storage import read_csv, read_json
from pipeline.data.index import SPLITS, Index
from pipeline.evaluation.measures import Task
from pipeline.evaluation.stages import stage_records
from pipeline.registry import System, all_systems

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "zarr", "h5py", "dvc")
# Folders whose contents count as artifacts.
ARTIFACTS = ("features", "models", "proposals", "detections")
# The owner of stages that serve several systems.
SHARED = "shared"
PRETRAIN = "pretrain_"

Figures = Mapping[str, Mapping[str, Any]]
"""The content of one JSON file for each system, stage or split, by its name."""
Rows = Sequence[Mapping[str, float]]
"""The rows of one CSV file by column."""


@dataclass(frozen=True)
class Results:
    """What the report is about; every mapping by system has evaluated systems alone, in the order of publication.

    Attributes:
        source: kind of dataset, for titles.
        indices: the dataset index of each split; the systems were evaluated on ``test``.
        parameters: all that changes a result: the shared sections nested as in ``params.yaml``, and for each system
            what its stages had.
        systems: the evaluated ones.
        metrics: figures by system (`pipeline.evaluation.metrics`, or `pipeline.evaluation.localisation` for its task),
            with ``intervals`` where they are known.
        timing: test times by system (`pipeline.timing`), for those that were timed.
        errors: shares of the error types among the first N errors, by system.
        curves: points ``(recall, precision)`` by system and class; a class without a correct detection has none.
        f1: points ``(score, F1)`` by system and class, likewise.
        shown: what the gallery draws, by system (`pipeline.evaluation.shown`).
        stages: records by owner, `SHARED` or a system, and stage (`pipeline.evaluation.stages.stage_records`).
        artifacts: bytes by path.
        versions: of what is installed, by name.
    """

    source: str
    indices: Mapping[str, Index]
    parameters: Mapping[str, Any]
    systems: Mapping[str, System] = field(default_factory=dict)
    metrics: Figures = field(default_factory=dict)
    timing: Figures = field(default_factory=dict)
    errors: Mapping[str, Rows] = field(default_factory=dict)
    curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]] = field(default_factory=dict)
    f1: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]] = field(default_factory=dict)
    shown: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    stages: Mapping[str, Figures] = field(default_factory=dict)
    artifacts: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def of(self, task: Task) -> "Results":
        """Return the results of the systems of one task alone; what stages left behind and their artifacts stay."""
        systems = {name: system for name, system in self.systems.items() if system.task == task}
        kept: dict[str, Any] = {
            each: {name: content for name, content in getattr(self, each).items() if name in systems}
            for each in ("metrics", "timing", "errors", "curves", "f1", "shown")
        }
        return replace(self, systems=systems, **kept)

    @property
    def counted(self) -> str:
        """The number of systems of each task in words; of detectors alone where no other system is shown."""
        detectors, localisers = (len(self.of(task).systems) for task in ("detect", "localise"))
        words = [f"{detectors} detector{_plural(detectors)}"] if detectors or not localisers else []
        words += [f"{localisers} localiser{_plural(localisers)}"] if localisers else []
        return " and ".join(words)

    def owner(self, name: str) -> str:
        """Return the owner of stages for print: a system's title, or `SHARED`."""
        return self.systems[name].title if name in self.systems else name

    @property
    def costs(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The costs of the stages that recorded any, by owner and stage, without what else the stages recorded."""
        costs = {
            owner: {
                stage: {name: value for name, value in record.items() if not isinstance(value, Mapping)}
                for stage, record in records.items()
                if "seconds" in record
            }
            for owner, records in self.stages.items()
        }
        return {owner: records for owner, records in costs.items() if records}

    @property
    def stage_figures(self) -> dict[str, dict[str, Any]]:
        """Metrics and times that stages measured, under dotted names, by ``OWNER/STAGE``; without `proposals`."""
        figures = {
            f"{owner}/{stage}": dict(flat({**record.get("metrics", {}), **record.get("timing", {})}))
            for owner, records in self.stages.items()
            for stage, record in records.items()
            if not (owner == SHARED and stage.startswith("proposals_"))
        }
        return {name: row for name, row in figures.items() if row}

    @property
    def boxes_scored(self) -> dict[str, float]:
        """How many boxes a system scored in a test image, in the mean (`pipeline.detector.Candidates`)."""
        records = self._recorded("detect")
        return {name: record["boxes_scored"] for name, record in records.items() if "boxes_scored" in record}

    @property
    def whole_images(self) -> dict[str, Mapping[str, Any]]:
        """The figures of the classification of whole images, by system with a stage ``classify``."""
        return self._recorded("classify")

    @property
    def localised(self) -> dict[str, Mapping[str, Any]]:
        """ILSVRC's errors: of systems that localise, and of others with a stage ``localise``."""
        known = {**self._recorded("localise"), **self.of("localise").metrics}
        return {name: known[name] for name in self.systems if name in known}

    def _recorded(self, stage: str) -> dict[str, Mapping[str, Any]]:
        """Return the metrics of a stage by system, of those that have such a stage with metrics."""
        records = {name: self.stages.get(name, {}).get(stage, {}) for name in self.systems}
        return {name: record["metrics"] for name, record in records.items() if "metrics" in record}

    @property
    def proposals(self) -> dict[str, Mapping[str, Any]]:
        """The figures of the shared proposals by split."""
        records = {split: self.stages.get(SHARED, {}).get(f"proposals_{split}", {}) for split in SPLITS}
        return {split: record["metrics"] for split, record in records.items() if "metrics" in record}


def read(project: Path, systems: Sequence[str], source: str, parameters: Mapping[str, Any]) -> Results:
    """Read the results of a run; what is missing is left out, but for the index.

    Args:
        project: the folder that holds ``data``, ``reports`` and ``dvc.lock``.
        systems: names of those to show, as far as they are evaluated.
        source: see `Results`.
        parameters: the shared sections.
    """
    reports = project / "reports"
    evaluated = {
        name: system
        for name, system in all_systems().items()
        if name in systems and (reports / f"metrics/{name}.json").exists()
    }

    def files(kind: str, ending: str) -> dict[str, Path]:
        paths = {name: reports / kind / f"{name}.{ending}" for name in evaluated}
        return {name: path for name, path in paths.items() if path.exists()}

    # Those of a network that is no longer listed stay on disk.
    listed = {f"{PRETRAIN}{network}" for network in parameters.get("backbones", ())}
    shared = stage_records(reports / "stages" / SHARED)
    stages = {SHARED: {name: of for name, of in shared.items() if name in listed or not name.startswith(PRETRAIN)}}
    stages |= {name: read_json(path) for name, path in files("costs", "json").items()}
    return Results(
        source=source,
        indices={split: Index.load(project / f"data/index/{split}.json") for split in SPLITS},
        parameters={**parameters} | {name: _parameters(name, stages[name]) for name in evaluated if name in stages},
        systems=evaluated,
        metrics={name: read_json(path) for name, path in files("metrics", "json").items()},
        timing={name: read_json(path) for name, path in files("timing", "json").items()},
        errors={name: _numbers(path) for name, path in files("errors", "csv").items()},
        curves={name: _curves(path, "recall", "precision") for name, path in files("precision_recall", "csv").items()},
        f1={name: _curves(path, "score", "f1") for name, path in files("f1", "csv").items()},
        shown={name: read_json(path) for name, path in files("shown", "json").items()},
        stages=stages,
        artifacts=artifact_sizes(project),
        versions=versions(),
    )


def _parameters(system: str, records: Figures) -> dict[str, Any]:
    """Return the parameters of a system's own section that its stages had, by their dotted key in it, sorted."""
    listed = {key: value for record in records.values() for key, value in record.get("params", {}).items()}
    return {key.removeprefix(f"{system}."): listed[key] for key in sorted(listed) if key.startswith(f"{system}.")}


def artifact_sizes(project: Path) -> dict[str, int]:
    """Return the bytes of every artifact by path, as DVC's locks record them; nothing is hashed or walked.

    A lock keeps the entry of a stage that the parameters no longer have: what is not there is left out.
    """
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe")
    locks = [path for path in (project / "dvc.lock", *sorted(project.glob("systems/*/dvc.lock"))) if path.exists()]
    stages = [stage for lock in locks for stage in yaml.load(lock).get("stages", {}).values()]
    outs = [out for stage in stages for out in stage.get("outs", ())]
    sizes = {out["path"]: out["size"] for out in outs if out["path"].split("/")[0] in ARTIFACTS}
    return {path: size for path, size in sizes.items() if (project / path).exists()}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed `PACKAGES`, none of which is imported for that."""
    installed = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed


def flat(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return the values of nested mappings under dotted names, in their order; an empty mapping is a value."""
    rows: list[tuple[str, Any]] = []
    for key, value in content.items():
        nested = isinstance(value, Mapping) and value
        rows += flat(value, f"{prefix}{key}.") if nested else [(f"{prefix}{key}", value)]
    return rows


def _plural(count: int) -> str:
    return "" if count == 1 else "s"


def _numbers(path: Path) -> list[dict[str, float]]:
    return [{name: float(value) for name, value in row.items()} for row in read_csv(path)]


def _curves(path: Path, x: str, y: str) -> dict[str, list[tuple[float, float]]]:
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in read_csv(path):
        curves.setdefault(row["class"], []).append((float(row[x]), float(row[y])))
    return curves
