"""The systems: all that one paper says stands in ``pipeline/systems/NAME/``, a room, behind one `System` object.

What treats systems alike (evaluation, timing, report, predictions, comparison, inspection, help texts) asks the object
and knows no names. A room has a ``system.py`` with its ``SYSTEM``, a ``detector.py`` with ``load`` and
``on_test_split``, and a ``batch_view.py`` with ``seen_batches`` where it trains networks; adding a system is adding a
room and writing its name into ``systems`` of ``params.yaml`` (CONTRIBUTING.md). It may have a ``reach.py``, what its
settings make of the objects, and a ``fit.py``, settings that would fit them.
"""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import runtime
from pipeline.core.errors import InputError
from pipeline.core.params import Section

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from pipeline.batch_view import SeenBatches
    from pipeline.data.index import Index
    from pipeline.detector import Detector
    from pipeline.evaluation.measures import Task
    from pipeline.fitting import Fitted
    from pipeline.params import Params
    from pipeline.reach import Reach
    from pipeline.training_images import TrainingImages

ROOMS = Path(__file__).parent / "systems"


@dataclass(frozen=True)
class Published:
    """One row of a paper's tables, on the test split of VOC2007.

    A paper's times are those of its own machine; where one leaves the proposals out, so does the row.

    Attributes:
        network: the paper's network and, where it matters, its setting.
        trained_on: VOC trainval of 2007 (``07``) or of both years (``07+12``).
        map: 11-point mean AP in percent.
        seconds: for an image, proposals included; None where the paper gives no such time.
        seconds_without: for an image, proposals left out; None likewise.
        hardware: as far as the source says it.
        source: paper, with table or section.
    """

    network: str
    trained_on: str
    map: float
    seconds: float | None
    seconds_without: float | None
    hardware: str
    source: str


@dataclass(frozen=True)
class PublishedSpeed:
    """How fast a paper says that its system is.

    Attributes:
        text: the figure in the paper's own terms.
        setting: against what, with or without proposals, network, hardware.
        source: paper, with table or section.
    """

    text: str
    setting: str
    source: str


@dataclass(frozen=True)
class System:
    """One system: what a person and the rest of the project need to know of it.

    Attributes:
        name: in files, stages, parameters and commands; that of its room.
        title: in print.
        paper: authors and venue.
        date: of publication, ``YYYY-MM``; systems are listed by it.
        colour: in charts, ``#rrggbb``.
        shown_from: score from which `boxline predict` shows a detection where neither a person nor an evaluation says
            which; what scores mean differs.
        task: what it is for, by which it is judged; the report shows tasks apart.
        params: its section of ``params.yaml``, which has its name; None where it has none.
        onnx: whether `boxline export` writes it: it is one network on squares.
        trainings: its stages that train a network on batches, as its ``dvc.yaml`` names them.
        published: rows of the paper's tables.
        published_speed: how fast the paper says it is; None where it says nothing.
    """

    name: str
    title: str
    paper: str
    date: str
    colour: str
    shown_from: float
    task: "Task" = "detect"
    params: type[Section] | None = None
    onnx: bool = False
    trainings: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()
    published_speed: PublishedSpeed | None = None

    def load(self, models: Path, device: "torch.device") -> "Detector":
        """Return the detector for pictures from the folder of all ``models``; the room's ``detector.load``."""
        return self._detector.load(models, device)

    def on_test_split(self, params: "Params", index: "Index", device: "torch.device") -> "Detector":
        """Return the detector for the images of the test split ``index``; the room's ``detector.on_test_split``.

        It may read what the graph has cached of them, at the graph's paths, and computes the same as `load`'s.
        """
        return self._detector.on_test_split(params, index, device)

    def seen_batches(self, params: "Params", images: "TrainingImages", stage: str) -> "SeenBatches":
        """Return the batches of ``stage``, one of `trainings`; the room's ``batch_view.seen_batches``.

        Args:
            params: all of them.
            images: of train and val.
            stage: whose network is trained; nothing of it need have run, only the stages that it depends on.
        """
        return self._module("batch_view").seen_batches(params, images, stage)

    def reach(self, params: "Params", indices: "Sequence[Index]") -> "list[Reach]":
        """Return what share of the objects of ``indices`` its settings reach; the room's ``reach.reach``, if any."""
        return self._module("reach").reach(params, indices) if self._has("reach") else []

    def fit(self, params: "Params", indices: "Sequence[Index]") -> "list[Fitted]":
        """Return values for its settings that fit the objects of ``indices`` better; the room's ``fit.fit``, if any."""
        return self._module("fit").fit(params, indices) if self._has("fit") else []

    @property
    def _detector(self) -> Any:
        return self._module("detector")

    def _module(self, name: str) -> Any:
        return import_module(f"pipeline.systems.{self.name}.{name}")

    def _has(self, name: str) -> bool:
        return find_spec(f"pipeline.systems.{self.name}.{name}") is not None

    @property
    def year(self) -> int:
        """Return the year of publication."""
        return int(self.date[:4])


@cache
def all_systems() -> dict[str, System]:
    """Return all systems that have a room, by name, in the order of their publication."""
    rooms = sorted(path.parent.name for path in ROOMS.glob("*/system.py"))
    found: list[System] = [import_module(f"pipeline.systems.{room}.system").SYSTEM for room in rooms]
    return {system.name: system for system in sorted(found, key=lambda system: system.date)}


def system(name: str) -> System:
    """Return the system called ``name``.

    Raises:
        InputError: there is none; the sentence lists those that exist.
    """
    if name not in all_systems():
        raise InputError(f"no system is called {name!r}; there are {', '.join(all_systems())}.")
    return all_systems()[name]


def load(name: str, models: Path | str, device: str = "auto") -> "Detector":
    """Return the detector of the system ``name`` with what its stages left below ``models``, ready on ``device``.

    Nothing else is read: neither ``params.yaml`` nor the index.

    Args:
        name: of the system.
        models: the folder that holds ``NAME/``.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda``, ``cuda:1``.

    Raises:
        InputError: there is no such system or device, or a file is missing; the sentence names the stage that writes
            it.
    """
    return system(name).load(Path(models), runtime.device(device))
