"""A detector as an object: pictures in, boxes out, no caches in between.

What a detector needs beside its weights, in ``models/SYSTEM/detector.json``: so the models can be taken elsewhere.

The detect stage writes it, the last one before a system is whole: a changed setting of the test re-runs that stage and
no training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline.core.boxes import Boxes
from pipeline.core.clock import NULL_CLOCK, Clock
from pipeline.core.errors import InputError
from pipeline.core.params import Section
from pipeline.core.storage import read_json, write_json
from pipeline.data.images import read_image
from pipeline.evaluation.detections import Detections, LeastScores

Image = NDArray[np.uint8]
"""``(H, W, 3)`` RGB, as `pipeline.data.images.read_image` gives it."""
Picture = Image | Path | str
"""An image, or the file that holds one."""


def opened(picture: Picture, clock: Clock) -> Image:
    """Return ``picture``, read if it is a file.

    Raises:
        UnreadableImageError: the file is missing or broken.
    """
    if not isinstance(picture, Path | str):
        return picture
    with clock.phase("read"):
        return read_image(Path(picture))


@dataclass(frozen=True)
class Found:
    """What was found in one image, best first.

    Attributes:
        boxes: ``(N, 4)`` float32, in pixels of the image.
        labels: ``(N,)`` int64, from 1: places among the detector's ``classes``, counted so.
        scores: ``(N,)`` float32, greater is better; their range is the system's own (an SVM's may be negative).
    """

    boxes: Boxes
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]

    @classmethod
    def of(cls, detections: Detections) -> "Found":
        """Take over the detections in one image."""
        ranked = detections.ranked()
        return cls(ranked.boxes, ranked.labels, ranked.scores)

    @classmethod
    def nothing(cls) -> "Found":
        """Return what is found where nothing is."""
        return cls.of(Detections.join([]))


class Detector(Protocol):
    """One of the systems, trained.

    Attributes:
        system: its name.
        classes: their names; label 1 is the first.
        batched: whether several images at once take less time than one after another.
    """

    system: str
    classes: tuple[str, ...]
    batched: bool

    def detect(self, images: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Found]:
        """Return what is found in each image, an array or a file; ``clock`` learns where the time went.

        Raises:
            UnreadableImageError: a file is missing or broken.
        """
        ...


FILE = "detector.json"

S = TypeVar("S", bound=Section)


@dataclass(frozen=True)
class Description:
    """Class names and settings of one system.

    Attributes:
        system: its name.
        classes: category id 1 first.
        settings: sections of the parameters, by names of the system's own choice.
        least: scores below which nothing is detected, by label (`pipeline.evaluation.detections`).
        path: of the file that it was read from.
    """

    system: str
    classes: tuple[str, ...]
    settings: Mapping[str, Any]
    least: LeastScores
    path: Path

    def section(self, name: str, kind: type[S]) -> S:
        """Return the settings called ``name``.

        Raises:
            InputError: they are missing, or are not of this ``kind``.
        """
        try:
            return kind.model_validate(self.settings[name])
        except (KeyError, ValidationError) as error:
            raise _unusable(self.path, self.system, f"its settings {name!r} are not {kind.__name__}") from error


def write_description(
    folder: Path, system: str, classes: Sequence[str], settings: Mapping[str, Section], least: LeastScores
) -> None:
    """Write the file into ``folder``, where the system's models are."""
    sections = {name: section.model_dump(mode="json") for name, section in settings.items()}
    scores = {classes[label - 1]: score for label, score in sorted(least.items())}
    content = {"system": system, "classes": list(classes), "settings": sections, "least_scores": scores}
    write_json(folder / FILE, content)


def read_description(folder: Path, system: str) -> Description:
    """Read what `write_description` wrote.

    Raises:
        InputError: the file is missing, or is of another system or kind.
    """
    path = folder / FILE
    try:
        content = read_json(path)
        classes = tuple(content["classes"])
        least = {classes.index(name) + 1: float(score) for name, score in content["least_scores"].items()}
        if content["system"] != system:
            raise ValueError(f"it is of {content['system']!r}")
        return Description(system, classes, content["settings"], least, path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: the file does not exist; the stage {system}_detect writes it.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise _unusable(path, system, str(error)) from error


def _unusable(path: Path, system: str, reason: str) -> InputError:
    return InputError(f"{path}: describes no {system} detector ({reason}); the stage {system}_detect writes one.")
