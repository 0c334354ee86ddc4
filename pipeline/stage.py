"""The frame of a stage: what the graph says of it is what its script can read, write and resume from.

A script ends in ``run(main)``; ``main`` gets the `Stage` whose command in a ``dvc.yaml`` is the one that runs. So a
stage's inputs, parameters and outputs are written down once, in the graph: reading another parameter or path is an
error, and the folder from which a killed stage resumes is named by a hash of just these.
"""

import os
import re
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic_core import to_jsonable_python

from pipeline.core import runtime
from pipeline.core.code import code_file
from pipeline.core.errors import InputError
from pipeline.core.machine import machine
from pipeline.core.params import Section
from pipeline.core.storage import Scratch, fingerprint, write_json
from pipeline.params import Params, load

if TYPE_CHECKING:
    import torch

    from pipeline.training import Run

GRAPHS = ("dvc.yaml", "systems/*/dvc.yaml")
REPORTS = "reports/stages/"
CODE = "code/"
ROOT = Path(__file__).resolve().parents[1]
"""Where the code that runs lies: a project's folder, or the checkout for a project elsewhere."""
# What changes no output: where things run, and where the images of an index, whose hashes it holds, lie on this disk.
FREE = ("runtime", "data.root")

S = TypeVar("S", bound=Section)


def run(main: "Callable[[Stage], None]") -> None:
    """Call a stage script's ``main``; turn an `InputError` into one line on stderr and exit code 1."""
    module = sys.modules[main.__module__].__spec__
    if module is None:
        raise SystemExit("error: run a stage as a module: python -m stages.NAME")
    runtime.run(lambda: _launched(lambda: main(Stage.of(module.name, sys.argv[1:]))))


def _launched(main: Callable[[], None]) -> None:
    """Call ``main``; of the processes that torchrun started, in the first alone."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        main()
        return
    from pipeline.processes import under_torchrun

    under_torchrun(main)


@dataclass(frozen=True)
class Declaration:
    """One stage of the graph, its loops and variables written out.

    Attributes:
        address: as `dvc repro` takes it: ``evaluate@ssd``, ``systems/rcnn/dvc.yaml:svm``.
        command: the shell command.
        deps: files and folders that it reads, relative to the project.
        params: dotted keys of ``params.yaml``.
        outs: files and folders that it writes, metrics included.
    """

    address: str
    command: str
    deps: tuple[str, ...]
    params: tuple[str, ...]
    outs: tuple[str, ...]


class Stage:
    """The stage that is running.

    Args:
        declaration: what the graph says of it.
        args: of its command.
        params: all parameters.

    Attributes:
        args: of its command, such as the split.
        params: the parameters; only those that the graph lists for the stage, ``runtime`` and ``data.root`` can be
        read.
    """

    def __init__(self, declaration: Declaration, args: tuple[str, ...], params: Params) -> None:
        self.declaration, self.args = declaration, args
        self._all = params
        self.params = cast(Params, _Listed(params, declaration))

    @classmethod
    def of(cls, module: str, args: list[str]) -> "Stage":
        """Return the stage whose command runs ``module`` (``stages.rcnn.svm``) with ``args``.

        Raises:
            InputError: no stage has this command, or the parameters are wrong.
        """
        params = load()
        command = " ".join(["python -m", module, *args])
        declared = list(declarations(params))
        for each in declared:
            if each.command == command:
                return cls(each, tuple(args), params)
        near = [each.command for each in declared if each.command.split()[:3] == command.split()[:3]]
        known = f"there are {', '.join(near)}" if near else f"{module} stands in no dvc.yaml"
        raise InputError(f"no stage runs `{command}`; {known}.")

    def section(self, kind: type[S]) -> S:
        """Return the section of the system whose parameters are of ``kind``, as far as the graph lists it."""
        return cast(S, _Listed(self._all, self.declaration).section(kind))

    def plain(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return parameters as JSON values by dotted key; for those that the graph lists, or parts of them."""
        return {key: to_jsonable_python(_value(self._all, key)) for key in keys}

    def dep(self, path: str) -> Path:
        """Return the path of an input, or of a file inside one.

        Raises:
            LookupError: the graph does not list it.
        """
        return self._declared(path, self.declaration.deps, "deps")

    def out(self, path: str) -> Path:
        """Return the path of an output, or of a file inside one.

        Raises:
            LookupError: the graph does not list it.
        """
        return self._declared(path, self.declaration.outs, "outs")

    def _declared(self, path: str, listed: tuple[str, ...], kind: str) -> Path:
        if not any(path == each or path.startswith(f"{each}/") for each in listed):
            raise LookupError(f"{path} is not among the {kind} of {self.declaration.address}")
        return Path(path)

    @cached_property
    def device(self) -> "torch.device":
        """The device to compute on."""
        return runtime.device(self.params.runtime.device)

    @property
    def workers(self) -> int:
        """How many processes or threads work beside each other."""
        return runtime.worker_count(self.params.runtime.workers)

    @property
    def loader_workers(self) -> int:
        """How many processes prepare training batches."""
        return runtime.loader_workers(self.device, self.params.runtime.workers)

    @property
    def training(self) -> "Run":
        """Where and how a training runs: the keyword arguments that the rooms' trainings take."""
        return {
            "scratch": self.scratch.folder,
            "seed": self.params.seed,
            "device": self.device,
            "workers": self.loader_workers,
            "precision": self.params.training.precision,
            "processes": self.params.training.processes,
        }

    @property
    def files(self) -> Path:
        """The folder that file names of the dataset's index are relative to."""
        return Path(self.params.data.root)

    @property
    def report(self) -> Path:
        """The folder for what the report tells of this stage: ``reports/stages/OWNER/STAGE``."""
        (folder,) = (out for out in self.declaration.outs if out.startswith(REPORTS))
        return Path(folder)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that determines the outputs: parameters, inputs, code, library and kind of device."""
        deps = self.declaration.deps
        parts: dict[str, Any] = {
            "stage": self.declaration.address,
            "params": self.plain(self.declaration.params),
            "code": [code_file(path.removeprefix(CODE), ROOT) for path in deps if path.startswith(CODE)],
            "torch": version("torch"),
            # A script that has not loaded torch computes on no device; loading it to ask takes seconds.
            "device": self.device.type if "torch" in sys.modules else None,
        }
        return fingerprint(**parts, **{path: Path(path) for path in deps if not path.startswith(CODE)})

    @cached_property
    def scratch(self) -> Scratch:
        """The folder that a killed run of the stage resumes from."""
        return Scratch(re.sub(r"[^\w]+", "_", self.report.as_posix().removeprefix(REPORTS)), self.fingerprint)

    def finish(self, seen: int, unit: str, **metrics: Any) -> None:
        """Write ``cost.json``, ``params.json`` and, where there are any, ``metrics.json`` into `report`; clear the
        scratch.

        Args:
            seen: items worked through, each counted as often as it was seen.
            unit: of ``seen``, in the singular (image, region, crop).
            metrics: figures of this stage.
        """
        write_json(self.report / "params.json", self.plain(self.declaration.params))
        if metrics:
            write_json(self.report / "metrics.json", metrics)
        resumed = "scratch" in self.__dict__ and self.scratch.resumed
        # Asking for the device loads torch: a stage that computed on none leaves no word of it.
        where = {"machine": machine(self.device)} if "device" in self.__dict__ else {}
        write_json(self.report / "cost.json", {**cost(seen, unit, resumed=resumed), **where})
        if "scratch" in self.__dict__:
            self.scratch.clear()


# --- the graph ----------------------------------------------------------------------------------------------------


def declarations(params: Params, root: Path = Path()) -> Iterator[Declaration]:
    """Yield the stages of all ``dvc.yaml`` below ``root``, loops over ``foreach`` and ``matrix`` written out."""
    from ruamel.yaml import YAML

    known = params.model_dump(mode="json")
    for graph in (path for pattern in GRAPHS for path in sorted(root.glob(pattern))):
        prefix = "" if graph.parent == root else f"{graph.relative_to(root).as_posix()}:"
        for name, content in YAML(typ="safe").load(graph.read_text(encoding="utf-8"))["stages"].items():
            for suffix, scope, stage in _instances(content, known):
                filled = _filled(stage, known | scope)
                yield Declaration(
                    f"{prefix}{name}{suffix}",
                    filled["cmd"],
                    _paths(filled.get("deps", ())),
                    _paths(filled.get("params", ())),
                    (*_paths(filled.get("outs", ())), *_paths(filled.get("metrics", ()))),
                )


def _instances(stage: Any, known: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Yield for each instance of a stage its suffix, its variables and its content."""
    if "foreach" in stage:
        values = _filled(stage["foreach"], known)
        pairs = values.items() if isinstance(values, dict) else ((value, value) for value in values)
        for key, item in pairs:
            yield f"@{key}", {"key": key, "item": item}, stage["do"]
    elif "matrix" in stage:
        axes = {axis: _filled(values, known) for axis, values in stage["matrix"].items()}
        for values in product(*axes.values()):
            yield "@" + "-".join(map(str, values)), {"item": dict(zip(axes, values, strict=True))}, stage
    else:
        yield "", {}, stage


def _filled(value: Any, known: Mapping[str, Any]) -> Any:
    """Return ``value`` with its ``${variables}`` replaced."""
    if isinstance(value, dict):
        return {_filled(name, known): _filled(each, known) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, known) for each in value]
    if not isinstance(value, str):
        return value
    whole = re.fullmatch(r"\$\{([\w.]+)\}", value)
    return _value(known, whole[1]) if whole else re.sub(r"\$\{([\w.]+)\}", lambda m: str(_value(known, m[1])), value)


def _paths(entries: Any) -> tuple[str, ...]:
    return tuple(str(next(iter(entry)) if isinstance(entry, dict) else entry) for entry in entries)


# --- parameters ---------------------------------------------------------------------------------------------------


class _Listed:
    """Parameters, or one of their sections, of which a stage reads only what the graph lists for it."""

    def __init__(self, values: Any, declaration: Declaration, path: str = "") -> None:
        self._values, self._declaration, self._path = values, declaration, path

    def section(self, kind: type[S]) -> Any:
        name = next(name for name in type(self._values).model_fields if type(getattr(self._values, name)) is kind)
        return getattr(self, name)

    def __getattr__(self, name: str) -> Any:
        key = f"{self._path}{name}"
        listed = (*self._declaration.params, *FREE)
        if any(key == each or key.startswith(f"{each}.") for each in listed):
            return _value(self._values, name)
        if any(each.startswith(f"{key}.") for each in listed):
            return _Listed(_value(self._values, name), self._declaration, f"{key}.")
        raise LookupError(f"{key} is not among the params of {self._declaration.address}")

    def __getitem__(self, name: str) -> Any:
        return self.__getattr__(name)


def _value(values: Any, key: str) -> Any:
    """Return the value at a dotted key of nested sections or mappings."""
    for name in key.split("."):
        values = values[name] if isinstance(values, Mapping) else getattr(values, name)
    return values


# --- cost ---------------------------------------------------------------------------------------------------------


def cost(seen: int, unit: str, *, resumed: bool = False) -> dict[str, Any]:
    """Return what this process has cost so far.

    ``seconds`` count from the start of the process, imports included. ``cpu_seconds`` are the time of all cores that
    the process and its finished children used, which other work on the machine changes less. ``memory_mb`` is the peak
    resident memory of the process or of its largest child, ``gpu_memory_mb`` the peak of torch's tensors, 0 where no
    GPU was used. ``resumed``: an earlier run had done part of the work, which then is not counted in ``seconds``.
    """
    import psutil

    spent = psutil.Process().cpu_times()
    return {
        "seconds": round(time.time() - psutil.Process().create_time(), 1),
        "cpu_seconds": round(spent.user + spent.system + spent.children_user + spent.children_system, 1),
        "seen": seen,
        "unit": unit,
        "memory_mb": round(_peak_bytes() / 1e6),
        "gpu_memory_mb": round(_gpu_bytes() / 1e6),
        "resumed": resumed,
    }


def _peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    children = unit * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # On Linux ru_maxrss outlives exec: it would be that of the process that started this one, where that was larger.
    status = Path("/proc/self/status")
    for line in status.read_text(encoding="utf-8").splitlines() if status.is_file() else ():
        if line.startswith("VmHWM:"):
            return max(1024 * int(line.split()[1]), children)
    return max(unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, children)


def _gpu_bytes() -> int:
    torch = sys.modules.get("torch")
    return torch.cuda.max_memory_allocated() if torch is not None and torch.cuda.is_initialized() else 0
