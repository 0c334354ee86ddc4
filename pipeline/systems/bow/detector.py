"""Detection by efficient subwindow search: the best box of each class, again without its words, and so on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.core.clock import NULL_CLOCK, Clock
from pipeline.data.index import Index
from pipeline.detector import Candidates, Description, Detector, Picture
from pipeline.linear.model import LinearModel
from pipeline.systems.bow.cache import WordCache
from pipeline.systems.bow.params import Bow, Search, Words
from pipeline.systems.bow.search import Pyramid, Scores, best_boxes, box_count
from pipeline.systems.bow.words import Grid, Vocabulary

if TYPE_CHECKING:
    import torch

    from pipeline.params import Params

STAGES = "systems/bow/dvc.yaml"


class WordSource(Protocol):
    """Gives the words of a picture.

    Attributes:
        reads_pixels: see `Detector`.
    """

    reads_pixels: bool

    def __call__(self, picture: Picture, clock: Clock) -> tuple[NDArray[np.uint16], Grid]:
        """Return the words ``(rows, columns)`` and their grid; ``clock`` times how they come about."""
        ...


class SeenWords:
    """A `WordSource`: words of the pixels.

    Args:
        words: the grid's settings.
        vocabulary: gives the words.
    """

    reads_pixels = True

    def __init__(self, words: Words, vocabulary: Vocabulary) -> None:
        self._words, self._vocabulary = words, vocabulary

    def __call__(self, picture: Picture, clock: Clock) -> tuple[NDArray[np.uint16], Grid]:
        """Return the words of the picture."""
        image = picture.pixels(clock)
        with clock.phase("convolution"):
            grid = Grid.of(image.shape[1], image.shape[0], self._words)
            return self._vocabulary.words(image, grid), grid


class CachedWords:
    """A `WordSource`: those of a split's images, from the cache."""

    reads_pixels = False

    def __init__(self, cache: WordCache) -> None:
        self._cache = cache
        self._positions = {image_id: position for position, image_id in enumerate(cache.image_ids.tolist())}

    def __call__(self, picture: Picture, clock: Clock) -> tuple[NDArray[np.uint16], Grid]:
        """Return the words of an image of the split."""
        position = self._positions[picture.image_id]
        return self._cache[position], self._cache.grids[position]


class SubwindowSearch(Detector):
    """Searches the words of a picture for boxes of each class.

    Args:
        description: with the settings ``words`` and ``detect``.
        svm: weights of each class and cell of a box, one for each word.
        source: where words come from.
    """

    def __init__(self, description: Description, svm: LinearModel, source: WordSource) -> None:
        super().__init__(description)
        self._settings, self._source = description.section("detect", Search), source
        self.reads_pixels = source.reads_pixels
        vocabulary = description.section("words", Words).vocabulary
        self._pyramid = Pyramid.of_cells(svm.weights.shape[1] // vocabulary)
        self._weights = (svm.weights * np.float32(svm.scale)).reshape(len(svm.bias), -1, vocabulary)
        self._bias = svm.bias.astype(np.float64)
        self._searches = self._unproven = self._evaluated = 0
        self._shares = 0.0

    def candidates(self, pictures: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Candidates]:
        """Return the boxes of each picture."""
        return [self._search(*self._source(picture, clock), clock) for picture in pictures]

    def figures(self) -> dict[str, float]:
        """Return the mean of the sets that a search evaluates, and of their share of all boxes of the grid."""
        searches = max(1, self._searches)
        return super().figures() | {
            "searches": self._searches,
            "evaluated_mean": round(self._evaluated / searches, 1),
            "evaluated_share": round(self._shares / searches, 6),
            "unproven_searches": self._unproven,
        }

    def _search(self, words: NDArray[np.uint16], grid: Grid, clock: Clock) -> Candidates:
        weights = self._weights[:, :, words].astype(np.float64)  # (classes, cells, rows, columns)
        kept = np.ones((len(self._bias), *words.shape), np.bool_)
        floors = np.where(np.isfinite(self._bias), self._settings.min_score - self._bias, np.inf)
        cells, labels, scores, before = [], [], [], self._evaluated
        with clock.phase("svm"):
            for _ in range(self._settings.max_per_class if words.size else 0):
                found = best_boxes(Scores(weights, self._pyramid), floors, self._settings.max_evaluations)
                self._count(found.evaluated, found.proven[floors < np.inf], words.shape)
                for label in range(len(floors)):
                    left, top, right, bottom = found.boxes[label].tolist()
                    inside = kept[label, top:bottom, left:right]
                    if not inside.any():  # no box above the floor
                        floors[label] = np.inf
                        continue
                    y, x = np.nonzero(inside)
                    cells.append((left + x.min(), top + y.min(), left + x.max() + 1, top + y.max() + 1))
                    labels.append(label + 1)
                    scores.append(found.scores[label] + self._bias[label])
                    weights[label, :, top:bottom, left:right], inside[:] = 0, False
                if np.isposinf(floors).all():
                    break
        boxes = grid.boxes(np.array(cells, np.int64).reshape(-1, 4))
        rows = np.arange(len(labels))
        candidates = Candidates(boxes, np.array(labels, np.int64), np.array(scores, np.float32), rows)
        return replace(candidates, boxes_scored=self._evaluated - before)

    def _count(self, evaluated: NDArray[np.int64], proven: NDArray[np.bool_], grid: tuple[int, ...]) -> None:
        self._searches += len(proven)
        self._unproven += int((~proven).sum())
        self._evaluated += int(evaluated.sum())
        self._shares += float(evaluated.sum()) / box_count(*grid)


def load(models: Path, device: "torch.device") -> Detector:
    """Return the detector for pictures, which computes on the CPU; see `pipeline.registry.System.load`."""
    folder = models / "bow"
    description = Description.load(folder, "bow")
    vocabulary = Vocabulary.load(folder / "vocabulary.safetensors")
    return _detector(description, folder, SeenWords(description.section("words", Words), vocabulary))


def on_test_split(params: "Params", index: Index, device: "torch.device") -> Detector:
    """Return the detector for the test split, whose words are cached; see `pipeline.registry.System.on_test_split`."""
    bow = params.section(Bow)
    description = Description.of("bow", index.classes, words=bow.words, detect=bow.detect)
    cache = WordCache(Path("features/bow/test.zarr"), index, bow.words)
    return _detector(description, Path("models/bow"), CachedWords(cache))


def _detector(description: Description, folder: Path, source: WordSource) -> Detector:
    svm = LinearModel.load(folder / "svm.safetensors", f"{STAGES}:svm")
    description.check_classes(len(svm.bias), folder / "svm.safetensors")
    return SubwindowSearch(description, svm, source)
