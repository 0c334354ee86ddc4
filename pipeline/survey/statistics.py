"""What is in a dataset: objects by class and split, their sizes and shapes, and how many an image has.

Difficult objects count as all others. Crowds are counted, but have neither size nor shape: their box is around many.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, area, as_boxes
from pipeline.data.index import Index

# COCO's limits of small and large objects, areas in square pixels.
SMALL, LARGE = 32**2, 96**2
QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class SplitFigures:
    """The images of a split and their objects.

    Attributes:
        images: all.
        empty: those without objects.
        objects: all.
        ignored: difficult ones and crowds.
        median: of the objects of an image, those without any included.
        most: in one image.
    """

    images: int
    empty: int
    objects: int
    ignored: int
    median: float
    most: int


@dataclass(frozen=True)
class ClassFigures:
    """The objects of a class.

    Attributes:
        label: its category id.
        objects: by split.
        images: that show it.
        sizes: small, medium and large objects, as COCO has it, of the image as it is.
        sides: `QUANTILES` of the square root of the area, in pixels; empty without any object.
        aspects: `QUANTILES` of width over height; empty likewise.
        missing: the splits that have images and no object of the class.
    """

    label: int
    objects: dict[str, int]
    images: int
    sizes: tuple[int, int, int]
    sides: list[float]
    aspects: list[float]
    missing: list[str]


@dataclass(frozen=True)
class Histogram:
    """Counts of consecutive ranges, each with its label."""

    title: str
    bars: list[tuple[str, int]]

    @property
    def highest(self) -> int:
        """The greatest count, 1 or more."""
        return max(1, *(count for _, count in self.bars))


def split_figures(index: Index) -> SplitFigures:
    """Return the figures of a split."""
    counts = np.array([len(image.boxes) for image in index.images], np.int64)
    return SplitFigures(
        images=len(counts),
        empty=int((counts == 0).sum()),
        objects=int(counts.sum()),
        ignored=int(sum(image.ignore.sum() for image in index.images)),
        median=float(np.median(counts)) if len(counts) else 0.0,
        most=int(counts.max(initial=0)),
    )


def class_figures(splits: Mapping[str, Index]) -> dict[str, ClassFigures]:
    """Return the figures of each class, by its name."""
    classes = next(iter(splits.values())).classes
    labels = {split: _joined([image.labels for image in index.images]) for split, index in splits.items()}
    boxes, of_box = _measured(splits)
    shown = _joined([np.unique(image.labels) for index in splits.values() for image in index.images])
    return {
        name: _class(label, boxes[of_box == label], labels, int((shown == label).sum()), splits)
        for label, name in enumerate(classes, 1)
    }


def _class(
    label: int, boxes: Boxes, labels: Mapping[str, NDArray[np.int64]], images: int, splits: Mapping[str, Index]
) -> ClassFigures:
    objects = {split: int((found == label).sum()) for split, found in labels.items()}
    areas = area(boxes)
    return ClassFigures(
        label=label,
        objects=objects,
        images=images,
        sizes=(
            int((areas < SMALL).sum()),
            int(((areas >= SMALL) & (areas < LARGE)).sum()),
            int((areas >= LARGE).sum()),
        ),
        sides=_quantiles(np.sqrt(areas)),
        aspects=_quantiles(_aspects(boxes)),
        missing=[split for split, count in objects.items() if not count and splits[split].images],
    )


def histograms(splits: Mapping[str, Index]) -> list[Histogram]:
    """Return how sides, shapes and objects of an image are spread over all splits."""
    boxes, _ = _measured(splits)
    counts = np.array([len(image.boxes) for index in splits.values() for image in index.images], np.int64)
    return [
        Histogram("Square root of the area, pixels", _halves(np.sqrt(area(boxes)), "{:.0f}")),
        Histogram("Width over height", _halves(_aspects(boxes), "{:.2g}")),
        Histogram("Objects of an image", _doublings(counts)),
    ]


def _halves(values: NDArray[np.float32], form: str) -> list[tuple[str, int]]:
    """Return the counts between half powers of two, from the smallest to the greatest; a label is where one starts."""
    if not len(values):
        return []
    places = np.floor(2 * np.log2(values) + 1e-6).astype(int)
    first = int(places.min())
    return [(form.format(2 ** ((first + n) / 2)), int(count)) for n, count in enumerate(np.bincount(places - first))]


def _doublings(counts: NDArray[np.int64]) -> list[tuple[str, int]]:
    """Return the counts of 0, 1, 2 to 3, 4 to 7 and so on."""
    places = np.where(counts > 0, np.floor(np.log2(np.maximum(counts, 1))) + 1, 0).astype(int)
    labels = ["0", "1"] + [f"{2**n}\N{EN DASH}{2 ** (n + 1) - 1}" for n in range(1, 32)]
    return [(labels[place], int(count)) for place, count in enumerate(np.bincount(places))]


def _measured(splits: Mapping[str, Index]) -> tuple[Boxes, NDArray[np.int64]]:
    """Return boxes ``(N, 4)`` and labels ``(N,)`` of all objects but crowds."""
    images = [image for index in splits.values() for image in index.images]
    boxes = np.concatenate([as_boxes(()), *(image.boxes[~image.crowd] for image in images)])
    return boxes, _joined([image.labels[~image.crowd] for image in images])


def _joined(labels: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(0, np.int64), *labels])


def _aspects(boxes: Boxes) -> NDArray[np.float32]:
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.asarray(sides[:, 0] / sides[:, 1])


def _quantiles(values: NDArray[np.float32]) -> list[float]:
    return np.quantile(values, QUANTILES).tolist() if len(values) else []
