"""From candidates to detections, the same way for a picture and for the test split.

A `Detector` returns the candidates of each image, scored boxes, and finishes them: box regression, suppression, the
limits within an image. Between these steps R-CNN, SPP-net and Fast R-CNN limit the candidates of each class over all
images of a split. The official codes do so with a threshold that rises while the images go by (``rcnn_test.m``,
``spp_test.m``, ``lib/fast_rcnn/test.py``) and end with one score threshold a class; a picture gets these thresholds.

`Description` is what a detector needs beside its weights; the stage ``detect`` writes it to
``models/SYSTEM/detector.json``, so that the folder of models can be used elsewhere.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline.core.boxes import Boxes, best_first, nms, suppress_covered
from pipeline.core.clock import NULL_CLOCK, Clock
from pipeline.core.errors import InputError
from pipeline.core.params import Section
from pipeline.core.runtime import progress, read_ahead, worker_count
from pipeline.core.storage import write_json
from pipeline.data.images import read_image
from pipeline.data.index import Index
from pipeline.evaluation.detections import Detections

if TYPE_CHECKING:
    from pipeline.whole_images import WholeImages

# Batches of a split that are decoded while the detector works on one.
BATCHES_AHEAD = 2

Image = NDArray[np.uint8]
"""``(H, W, 3)`` RGB, as `pipeline.data.images.read_image` gives it."""

ScoreThresholds = Mapping[int, float]
"""By label, the lowest score that a candidate may have; a class that is missing here has no threshold."""


class Picture:
    """An image to detect in: an array, or a file that is read when its pixels are first needed.

    Args:
        source: ``(H, W, 3)`` uint8 RGB, or the file that holds it.
        image_id: its id in the dataset index; 0 for a picture from elsewhere.
    """

    def __init__(self, source: Image | Path | str, image_id: int = 0) -> None:
        self.image_id = image_id
        self._source = source
        self._pixels = None if isinstance(source, Path | str) else source

    @property
    def name(self) -> str:
        """Return the file, or the id where there is none."""
        return str(self._source) if isinstance(self._source, Path | str) else f"picture {self.image_id}"

    def pixels(self, clock: Clock = NULL_CLOCK) -> Image:
        """Return the pixels; ``clock`` times ``read``.

        Raises:
            UnreadableImageError: the file is missing or broken.
        """
        if self._pixels is None:
            assert isinstance(self._source, Path | str)
            with clock.phase("read"):
                self._pixels = read_image(Path(self._source))
        return self._pixels


class NotANumberError(Exception):
    """A detector scored a box of the class ``label`` with NaN."""

    def __init__(self, label: int) -> None:
        super().__init__(label)
        self.label = label


@dataclass(frozen=True)
class Candidates:
    """N scored boxes of one image, from which its detections are chosen.

    Attributes:
        boxes: ``(N, 4)`` float32.
        labels: ``(N,)`` int64, category ids from 1.
        scores: ``(N,)`` float32, greater is better.
        rows: ``(N,)`` int64, the region, anchor or cell that each comes from.
        source: whatever else the detector's `Detector.finish` needs of the image.
        boxes_scored: how many boxes of the image got a score, each class's for itself; in efficient subwindow search
            how many sets of boxes got a bound.
    """

    boxes: Boxes
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    rows: NDArray[np.int64]
    source: Any = None
    boxes_scored: int = 0

    @classmethod
    def above(
        cls, min_score: float | None, boxes: Boxes, scores: NDArray[np.float32], source: Any = None
    ) -> "Candidates":
        """Return each pair of a box and a class that scores more than ``min_score``, class by class.

        Args:
            min_score: None: every pair but those with a score of minus infinity, the score of a class that could not
                be learned.
            boxes: ``(R, 4)``, shared by the classes, or ``(R, classes, 4)``.
            scores: ``(R, classes)``, without the background.
            source: see `Candidates`.

        Raises:
            NotANumberError: a score is NaN.
        """
        if np.isnan(scores).any():
            raise NotANumberError(int(np.isnan(scores).any(axis=0).argmax()) + 1)
        columns, rows = np.nonzero((scores > (-np.inf if min_score is None else min_score)).T)
        chosen = boxes[rows] if boxes.ndim == 2 else boxes[rows, columns]
        return cls(chosen, columns + 1, scores[rows, columns], rows, source, scores.size)

    @classmethod
    def join(cls, parts: Sequence["Candidates"], source: Any = None) -> "Candidates":
        """Put candidates of one image, whose `source` is given, one after another; of no part, none."""
        none = cls(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.int64))
        parts = [none, *parts]
        return cls(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.rows for part in parts]),
            source,
            sum(part.boxes_scored for part in parts),
        )

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, which: NDArray) -> "Candidates":
        """Return the candidates at the positions ``which``, or where the mask ``which`` is true."""
        return replace(
            self,
            boxes=self.boxes[which],
            labels=self.labels[which],
            scores=self.scores[which],
            rows=self.rows[which],
        )

    def limit(self, most: int | None) -> "Candidates":
        """Return the ``most`` best of all classes, best first; equal scores keep their order. None: all."""
        return self.take(best_first(self.scores)[:most])

    def limit_by_class(self, most: int | Sequence[int | None]) -> "Candidates":
        """Return the ``most`` best of each class, class by class, best first; equal scores keep their order.

        ``most`` is one number for all classes, or one for each, None for all candidates of the class.
        """

        def best(places: NDArray[np.int64]) -> NDArray[np.int64]:
            limit = most if isinstance(most, int) else most[self.labels[places[0]] - 1]
            return best_first(self.scores[places])[:limit]

        return self._by_class(best)

    def suppress(self, threshold: float) -> "Candidates":
        """Return what greedy non-maximum suppression keeps of each class, class by class, best first.

        A box is dropped when its overlap with a kept box of its class is greater than ``threshold``. This calls the
        operator once a class: ``torchvision.ops.batched_nms`` shifts each class's boxes by an offset instead, which
        rounds their coordinates, so that boxes near the threshold can fall on the other side of it.
        """
        return self._by_class(lambda places: nms(self.boxes[places], self.scores[places], threshold))

    def suppress_covered(self, threshold: float) -> "Candidates":
        """Return what DPM's suppression keeps of each class, class by class, best first (`boxes.suppress_covered`)."""
        return self._by_class(lambda places: suppress_covered(self.boxes[places], self.scores[places], threshold))

    def reach(self, thresholds: ScoreThresholds) -> "Candidates":
        """Return the candidates that score at least the threshold of their class."""
        lowest = np.array([thresholds.get(label, -np.inf) for label in self.labels.tolist()], np.float32)
        return self.take(self.scores >= lowest)

    def detections(self) -> Detections:
        """Return the candidates as detections; the id of their image is given as 0."""
        return Detections(np.zeros(len(self), np.int64), self.labels, self.boxes, self.scores)

    def _by_class(self, choose: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> "Candidates":
        """Return what ``choose`` keeps of each class; it gets positions and returns positions among these."""
        if not len(self):
            return self
        order = np.argsort(self.labels, kind="stable")
        classes = np.split(order, np.flatnonzero(np.diff(self.labels[order])) + 1)
        return self.take(np.concatenate([places[choose(places)] for places in classes]))


FILE = "detector.json"

S = TypeVar("S", bound=Section)


@dataclass(frozen=True)
class Description:
    """What a detector needs beside its weights.

    Attributes:
        system: its name.
        classes: category id 1 first.
        settings: sections of the parameters as JSON values, by names that the system chooses.
        score_thresholds: for pictures, instead of the limit over a split.
        path: the file that it was read from.
    """

    system: str
    classes: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    score_thresholds: ScoreThresholds = field(default_factory=dict)
    path: Path = Path(FILE)

    @classmethod
    def of(cls, system: str, classes: Sequence[str], **settings: Section) -> "Description":
        """Return the description of a system that is tested with ``settings``."""
        sections = {name: section.model_dump(mode="json") for name, section in settings.items()}
        return cls(system, tuple(classes), sections)

    def section(self, name: str, kind: type[S]) -> S:
        """Return the settings called ``name``.

        Raises:
            InputError: they are missing, or are not of this ``kind``.
        """
        try:
            return kind.model_validate(self.settings[name])
        except (KeyError, ValidationError) as error:
            raise _unusable(self.path, self.system, f"its settings {name!r} are not {kind.__name__}") from error

    def check_classes(self, count: int, weights: Path) -> None:
        """Check that the network in ``weights``, which scores ``count`` classes, is the one described.

        Raises:
            InputError: there are more or fewer names.
        """
        if count != len(self.classes):
            raise InputError(
                f"{self.path}: names {len(self.classes)} classes, but {weights} scores {count}; the stage "
                f"{_stage(self.system)} writes the names that fit."
            )

    def save(self, folder: Path) -> None:
        """Write ``detector.json`` into ``folder``, where the system's models are."""
        thresholds = {self.classes[label - 1]: score for label, score in sorted(self.score_thresholds.items())}
        content = {
            "system": self.system,
            "classes": list(self.classes),
            "settings": dict(self.settings),
            "score_thresholds": thresholds,
        }
        write_json(folder / FILE, content)

    @classmethod
    def load(cls, folder: Path, system: str) -> "Description":
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing, or describes another system or something else.
        """
        path = folder / FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            classes = tuple(content["classes"])
            thresholds = {classes.index(name) + 1: float(score) for name, score in content["score_thresholds"].items()}
            if content["system"] != system:
                raise ValueError(f"it is of {content['system']!r}")
            return cls(system, classes, content["settings"], thresholds, path)
        except FileNotFoundError as error:
            raise InputError(f"{path}: the file does not exist; the stage {_stage(system)} writes it.") from error
        except (KeyError, TypeError, ValueError) as error:
            raise _unusable(path, system, str(error)) from error


def _unusable(path: Path, system: str, reason: str) -> InputError:
    return InputError(f"{path}: describes no {system} detector ({reason}); the stage {_stage(system)} writes one.")


def _stage(system: str) -> str:
    return f"systems/{system}/dvc.yaml:detect"


class Detector(ABC):
    """A trained system.

    Attributes:
        description: its name, classes, settings and score thresholds.
        batched: whether `candidates` of several pictures at once take less time than of one after another.
        batch: images of a split that `candidates` gets at a time.
        at_once: pictures that `detect` hands to `candidates` at a time where it is ``batched``.
        reads_pixels: whether `candidates` looks at pixels, or only at what a cache holds of the image.
        detection_limits: for each class, how many candidates are finished in a split, as an average over its images;
            None: all. Empty: all of all classes.
        whole_images: the network that sees whole images; None where none does.
    """

    batched = False
    batch = 1
    at_once = 8
    reads_pixels = True
    detection_limits: Sequence[int | None] = ()
    whole_images: "WholeImages | None" = None

    def __init__(self, description: Description) -> None:
        self.description = description
        self._pictures = self._boxes_scored = 0

    @property
    def system(self) -> str:
        """The name of the system."""
        return self.description.system

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; label 1 is the first."""
        return self.description.classes

    @abstractmethod
    def candidates(self, pictures: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Candidates]:
        """Return the candidates of each picture; ``clock`` times the phases.

        Raises:
            UnreadableImageError: a file is missing or broken.
        """

    def scored(self, pictures: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Candidates]:
        """Return the `candidates` of each picture.

        Raises:
            InputError: a score is NaN; the sentence names the picture and the class.
            UnreadableImageError: a file is missing or broken.
        """
        try:
            found = self.candidates(pictures, clock)
        except NotANumberError as error:
            if len(pictures) > 1:  # which one it was
                return [candidates for picture in pictures for candidates in self.scored([picture], clock)]
            raise InputError(
                f"{pictures[0].name}: {self.system} gives the class {self.classes[error.label - 1]!r} a score that is "
                f"not a number; its training diverged, and a smaller learning rate would be right."
            ) from error
        self._pictures += len(found)
        self._boxes_scored += sum(candidates.boxes_scored for candidates in found)
        return found

    def finish(self, candidates: Candidates, clock: Clock = NULL_CLOCK) -> Detections:
        """Return the detections among the candidates of one image that the limit or the score thresholds left."""
        return candidates.detections()

    def figures(self) -> dict[str, float]:
        """Return what the detector counted in all pictures so far, as metrics of the stage ``detect``.

        ``boxes_scored`` is the mean of those of the `Candidates`.
        """
        return {"boxes_scored": round(self._boxes_scored / max(1, self._pictures), 1)}

    def detect(
        self, images: Sequence[Image | Path | str], clock: Clock = NULL_CLOCK, at_once: int | None = None
    ) -> list[Detections]:
        """Return the detections in each of ``images``, arrays or files: best first, with 0 as the image's id.

        There may be more images than fit into memory as one batch: ``at_once`` of them, by default those of the
        detector, are computed together where it is ``batched``.

        Raises:
            UnreadableImageError: a file is missing or broken.
        """
        pictures = [Picture(image) for image in images]
        together = (at_once or self.at_once) if self.batched else 1
        thresholds = self.description.score_thresholds
        detections = []
        for first in range(0, len(pictures), together):
            for candidates in self.scored(pictures[first : first + together], clock):
                if thresholds:
                    with clock.phase("suppression"):
                        candidates = candidates.reach(thresholds)
                detections.append(self.finish(candidates, clock).ranked())
        return detections


def detect_split(detector: Detector, index: Index, root: Path, workers: int = 0) -> tuple[Detections, ScoreThresholds]:
    """Detect in all images of ``index``, files below ``root``; return too the score thresholds of the limits.

    Args:
        detector: its settings for `Detector.batch` and `Detector.detection_limits` hold.
        index: the images of a split.
        root: of their files.
        workers: threads that read images ahead, 0: one a core; their number changes nothing.

    Raises:
        UnreadableImageError: a file is missing or broken.
    """
    images: Iterable[Candidates] = progress(
        _candidates(detector, index, root, workers), f"detecting, {detector.system}", total=len(index.images)
    )
    thresholds: ScoreThresholds = {}
    if any(detector.detection_limits):
        most = [limit and limit * len(index.images) for limit in detector.detection_limits]
        limited, thresholds = limit_split(list(images), most)
        images = progress(limited, f"finishing, {detector.system}")
    parts = []
    for record, candidates in zip(index.images, images, strict=True):
        detections = detector.finish(candidates)
        parts.append(replace(detections, image_ids=np.full(len(detections), record.id, np.int64)))
    return Detections.join(parts), thresholds


def limit_split(images: Sequence[Candidates], most: Sequence[int | None]) -> tuple[list[Candidates], ScoreThresholds]:
    """Limit the candidates of each class to the ``most`` best over all ``images``; return the thresholds that do so.

    ``most`` has a number for each class, None for one without a limit. Of equal scores the first are kept. Only a class
    with more candidates than that gets a threshold: halfway between the last that is kept and the first that is not, so
    that last bits do not decide.
    """
    labels = np.concatenate([np.zeros(0, np.int64), *(candidates.labels for candidates in images)])
    scores = np.concatenate([np.zeros(0, np.float32), *(candidates.scores for candidates in images)])
    keep = np.zeros(len(labels), np.bool_)
    thresholds = {}
    for label in np.unique(labels).tolist():
        places = np.flatnonzero(labels == label)
        ranked = places[best_first(scores[places])]
        limit = most[label - 1]
        keep[ranked[:limit]] = True
        if limit is not None and len(ranked) > limit:
            thresholds[label] = (float(scores[ranked[limit - 1]]) + float(scores[ranked[limit]])) / 2
    masks = np.split(keep, np.cumsum([len(candidates) for candidates in images]))
    return [candidates.take(mask) for candidates, mask in zip(images, masks, strict=False)], thresholds


def _candidates(detector: Detector, index: Index, root: Path, workers: int) -> Iterator[Candidates]:
    """Yield the candidates of each image of a split, in order."""
    pictures: Iterator[Picture] = (Picture(root / image.file, image.id) for image in index.images)
    if detector.reads_pixels:
        ahead = BATCHES_AHEAD * detector.batch
        loaded = read_ahead(Picture.pixels, pictures, workers=worker_count(workers), ahead=ahead)
        pictures = (picture for picture, _ in loaded)
    while batch := list(islice(pictures, detector.batch)):
        yield from detector.scored(batch)
