"""The pictures of the report: chosen images as JPEG, and for each system the boxes to lay over them.

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
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.colours import class_colour, ink_on
from pipeline.data.images import read_image
from pipeline.data.index import ImageRecord, Index
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.errors import TYPES, judge

# Longest side of an embedded photograph in pixels: sharp on a phone's screen, 24 of them stay near 2 MB.
LONGEST_SIDE = 640
JPEG_QUALITY = 82
# Height of a label as a share of the picture's width on the page.
LABEL_SHARE = 0.05
# A detection that claims an object to ignore: neither right nor wrong.
NEITHER = "Ignored"


@dataclass(frozen=True)
class Frame:
    """A box to draw, in the image's pixels."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Label:
    """The name tag of a box, in the image's pixels."""

    text: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Found:
    """A detection: its box, category id, score, type (of `TYPES`, or `NEITHER`) and how to draw it."""

    frame: Frame
    category: int
    score: float
    type: str
    title: str
    colour: str
    ink: str
    label: Label


@dataclass(frozen=True)
class Object:
    """An object of the ground truth, and the score of the detection that finds it; None where none does."""

    frame: Frame
    category: int
    title: str
    ignored: bool
    found_at: float | None

    def missed(self, least: float) -> bool:
        """Return whether no detection from the score ``least`` on finds it."""
        return not self.ignored and (self.found_at is None or self.found_at < least)


@dataclass(frozen=True)
class Panel:
    """One image under one system: its detections, best last so that they lie on top, and the objects."""

    found: list[Found]
    objects: list[Object]


@dataclass(frozen=True)
class Photo:
    """One image: the JPEG as a data URI, and its panels by system; one under the name "" where there is no system."""

    number: int
    file: str
    width: int
    height: int
    uri: str
    panels: dict[str, Panel]


def photos(
    index: Index,
    root: Path,
    detections: Mapping[str, Detections],
    floors: Mapping[str, float],
    similar: NDArray[np.bool_],
    iou: float,
) -> list[Photo]:
    """Return the pictures to show, one for each image of ``index``.

    Args:
        index: the ground truth of the images to show.
        root: folder that the index's file names are relative to.
        detections: by system, on these images.
        floors: least score of a detection to keep, by system.
        similar: from `pipeline.evaluation.errors.similar_classes`.
        iou: overlap of a correct detection.

    Raises:
        UnreadableImageError: an image is missing or broken.
    """
    ratio = tile_ratio([(image.width, image.height) for image in index.images])
    panels = {name: _panels(index, found, floors[name], similar, iou, ratio) for name, found in detections.items()}
    panels = panels or {"": {image.id: Panel([], _objects(image, index.classes, {})) for image in index.images}}
    return [
        Photo(
            number=number,
            file=image.file,
            width=image.width,
            height=image.height,
            uri=jpeg_uri(root / image.file),
            panels={name: by_image[image.id] for name, by_image in panels.items()},
        )
        for number, image in enumerate(index.images, 1)
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


def _panels(
    index: Index, detections: Detections, floor: float, similar: NDArray[np.bool_], iou: float, ratio: float
) -> dict[int, Panel]:
    """Return the panel of each image by its id."""
    types, found_at = _judged(index, detections, similar, iou)
    kept = detections.scores >= np.float32(floor)
    panels = {}
    for image in index.images:
        rows = np.flatnonzero(kept & (detections.image_ids == image.id))
        rows = rows[np.argsort(-detections.scores[rows], kind="stable")][::-1]
        found = [_found(image, index.classes, detections, row, types[row], ratio) for row in rows.tolist()]
        panels[image.id] = Panel(found, _objects(image, index.classes, found_at[image.id]))
    return panels


def _judged(
    index: Index, detections: Detections, similar: NDArray[np.bool_], iou: float
) -> tuple[list[str], dict[int, dict[int, float]]]:
    """Return the type of each detection, and by image id the score that finds each object, by its position."""
    types = [NEITHER] * len(detections)
    found_at: dict[int, dict[int, float]] = {image.id: {} for image in index.images}
    for label in range(1, len(index.classes) + 1):
        for row, kind, claimed in judge(index, detections, label, similar, iou):
            if kind is not None:
                types[row] = TYPES[kind]
            if claimed is not None:
                found_at[int(detections.image_ids[row])][claimed] = _score(detections, row)
    return types, found_at


def _objects(image: ImageRecord, classes: Sequence[str], found_at: Mapping[int, float]) -> list[Object]:
    return [
        Object(
            _frame(box),
            category=label,
            title=f"{classes[label - 1]} (ground truth{', ignored' if ignore else ''})",
            ignored=bool(ignore),
            found_at=found_at.get(position),
        )
        for position, (box, label, ignore) in enumerate(
            zip(image.boxes, image.labels.tolist(), image.ignore, strict=True)
        )
    ]


def _found(
    image: ImageRecord, classes: Sequence[str], detections: Detections, row: int, kind: str, ratio: float
) -> Found:
    category, score, frame = int(detections.labels[row]), _score(detections, row), _frame(detections.boxes[row])
    text, colour = f"{classes[category - 1]} {score:.2f}", class_colour(category)
    tag = _label(text, frame, LABEL_SHARE * max(image.width, image.height * ratio), image.width)
    return Found(frame, category, score, kind, f"{text} ({kind})", colour, ink_on(colour), tag)


def _score(detections: Detections, row: int) -> float:
    """Return a score with the digits that the file of detections has."""
    return float(str(detections.scores[row]))


def _label(text: str, frame: Frame, height: float, image_width: int) -> Label:
    """Place a label on the upper edge of a box, or below that edge where there is no room; never past the image."""
    width = round(height * (0.5 + 0.42 * sum(_advance(letter) for letter in text)), 1)
    left = max(0.0, min(frame.x, image_width - width))
    top = frame.y - height if frame.y >= height else frame.y
    return Label(text, round(left, 1), round(top, 1), width, round(height, 1))


def _advance(letter: str) -> int:
    """Return the columns that a letter takes: two for wide East Asian ones."""
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _frame(box: np.ndarray) -> Frame:
    x1, y1, x2, y2 = (float(value) for value in box)
    return Frame(round(x1, 1), round(y1, 1), round(x2 - x1, 1), round(y2 - y1, 1))
