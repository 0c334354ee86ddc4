"""The pictures of the report: chosen images as JPEG, and the boxes to lay over them.

Boxes are laid over the photograph as SVG instead of being painted into it: they stay sharp at any zoom, can be hidden
on the page, and one copy of the photograph serves all systems.
"""

import base64
import io
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.data.images import read_image
from pipeline.data.index import ImageRecord, Index
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.ranking import Ranking
from pipeline.report.colours import class_colour, ink_on

# Longest side of an embedded photograph in pixels: sharp on a phone's screen, 24 of them stay near 2 MB.
LONGEST_SIDE = 640
JPEG_QUALITY = 82
# Height of a label as a share of the picture's width on the page.
LABEL_SHARE = 0.042


@dataclass(frozen=True)
class Label:
    """The name tag of a box, in the image's pixels."""

    text: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Shape:
    """A box to draw, in the image's pixels, with the text that a pointer over it shows."""

    x: float
    y: float
    width: float
    height: float
    title: str
    colour: str = ""
    ink: str = ""
    dim: bool = False
    label: Label | None = None


@dataclass(frozen=True)
class Photo:
    """One image: the JPEG as a data URI, its objects, and per system (by name) its detections."""

    number: int
    file: str
    width: int
    height: int
    uri: str
    truth: list[Shape]
    found: dict[str, list[Shape]]


def thresholds(ranked: Mapping[str, Ranking], min_score: float | None) -> dict[str, float]:
    """Return the least score to draw per class: ``min_score``, or where it is None the one with the best F1."""
    return {name: ranking.best_f1_score() if min_score is None else min_score for name, ranking in ranked.items()}


def photos(
    index: Index,
    root: Path,
    count: int,
    detections: Mapping[str, Detections],
    least: Mapping[str, Mapping[str, float]],
) -> list[Photo]:
    """Return the pictures to show.

    Args:
        index: the ground truth.
        root: folder that the index's file names are relative to.
        count: number of images.
        detections: by system.
        least: least score to draw, by system and class name.

    Raises:
        UnreadableImageError: an image is missing or broken.
    """
    chosen = index.spread(count)
    ratio = tile_ratio([(image.width, image.height) for image in chosen])
    drawn = {name: _above(found, [least[name][c] for c in index.classes]) for name, found in detections.items()}
    return [
        Photo(
            number=number,
            file=image.file,
            width=image.width,
            height=image.height,
            uri=jpeg_uri(root / image.file),
            truth=_truth_shapes(image, index.classes),
            found={name: _found_shapes(image, found, index.classes, ratio) for name, found in drawn.items()},
        )
        for number, image in enumerate(chosen, 1)
    ]


def tile_ratio(sizes: Sequence[tuple[int, int]]) -> float:
    """Return width / height of the frame that all pictures share: the median of theirs, between 3:4 and 16:9."""
    ratios = [width / height for width, height in sizes]
    return float(np.clip(np.median(ratios), 3 / 4, 16 / 9)) if ratios else 1.0


def jpeg_uri(path: Path) -> str:
    """Return an image file as a JPEG data URI, reduced to `LONGEST_SIDE`."""
    image = Image.fromarray(read_image(path))
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _above(detections: Detections, least: list[float]) -> Detections:
    """Return the detections to draw, worst first, so that the best lie on top."""
    kept = detections.take(detections.scores >= np.asarray(least, np.float32)[detections.labels - 1]).ranked()
    return kept.take(np.arange(len(kept))[::-1])


def _truth_shapes(image: ImageRecord, classes: Sequence[str]) -> list[Shape]:
    return [
        Shape(
            *_frame(box),
            title=f"{classes[label - 1]} (ground truth{', ignored' if ignore else ''})",
            dim=bool(ignore),
        )
        for box, label, ignore in zip(image.boxes, image.labels, image.ignore, strict=True)
    ]


def _found_shapes(image: ImageRecord, drawn: Detections, classes: Sequence[str], ratio: float) -> list[Shape]:
    mine = drawn.take(drawn.image_ids == image.id)
    height = LABEL_SHARE * max(image.width, image.height * ratio)
    shapes = []
    for box, label, score in zip(mine.boxes, mine.labels.tolist(), mine.scores.tolist(), strict=True):
        frame, text, colour = _frame(box), f"{classes[label - 1]} {score:.2f}", class_colour(label)
        tag = _label(text, frame, height, image.width)
        shapes.append(Shape(*frame, title=text, colour=colour, ink=ink_on(colour), label=tag))
    return shapes


def _label(text: str, frame: tuple[float, float, float, float], height: float, image_width: int) -> Label:
    """Place a label on the upper edge of a box, or below that edge where there is no room; never past the image."""
    x, y = frame[:2]
    width = round(height * (0.5 + 0.42 * sum(_advance(letter) for letter in text)), 1)
    left = max(0.0, min(x, image_width - width))
    top = y - height if y >= height else y
    return Label(text, round(left, 1), round(top, 1), width, round(height, 1))


def _advance(letter: str) -> int:
    """Return the columns that a letter takes: two for wide East Asian ones."""
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _frame(box: np.ndarray) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(value) for value in box)
    return round(x1, 1), round(y1, 1), round(x2 - x1, 1), round(y2 - y1, 1)
