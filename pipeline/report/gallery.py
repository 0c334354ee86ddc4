"""The pictures of the report: chosen images as JPEG, and for each system the boxes to lay over them.

Boxes are laid over the photograph as SVG instead of being painted into it: they stay sharp at any zoom, can be hidden
on the page, and one copy of the photograph serves all systems.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.colours import class_colour, ink_on
from pipeline.core.errors import InputError
from pipeline.data.index import ImageRecord, Index
from pipeline.evaluation.shown import rounded_bbox
from pipeline.html_templates import jpeg_uri

# Longest side of an embedded photograph in pixels: sharp on a phone's screen, 24 of them stay near 2 MB.
LONGEST_SIDE = 640
# Height of a label as a share of the picture's width on the page.
LABEL_SHARE = 0.05


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
class DrawnDetection:
    """A detection: its box, category id, score, type (`pipeline.evaluation.shown`) and how to draw it."""

    frame: Frame
    category: int
    score: float
    type: str
    title: str
    colour: str
    ink: str
    label: Label


@dataclass(frozen=True)
class DrawnObject:
    """An object of the ground truth, and the score of the detection that claims it; None where none does."""

    frame: Frame
    category: int
    title: str
    ignored: bool
    detected_at: float | None

    def missed(self, least: float) -> bool:
        """Return whether no detection from the score ``least`` on claims it."""
        return not self.ignored and (self.detected_at is None or self.detected_at < least)


@dataclass(frozen=True)
class Overlay:
    """One image under one system: its detections, best last so that they lie on top, and the objects."""

    detections: list[DrawnDetection]
    objects: list[DrawnObject]


@dataclass(frozen=True)
class Photo:
    """One image: the JPEG as a data URI, and its overlays by system; one under the name "" where there is no system."""

    number: int
    file: str
    width: int
    height: int
    uri: str
    overlays: dict[str, Overlay]


def photos(index: Index, root: Path, shown: Mapping[str, Mapping[str, Any]]) -> list[Photo]:
    """Return the pictures to show, one for each image of ``index``.

    Args:
        index: the ground truth of the images to show.
        root: folder that the index's file names are relative to.
        shown: by system, the content of ``reports/shown/SYSTEM.json`` (`pipeline.evaluation.shown`).

    Raises:
        InputError: ``shown`` lacks one of the images.
        UnreadableImageError: an image is missing or broken.
    """
    ratio = tile_ratio([(image.width, image.height) for image in index.images])
    by_system = {name: {entry["id"]: entry for entry in content["images"]} for name, content in shown.items()}
    for name, entries in by_system.items():
        if missing := [image.id for image in index.images if image.id not in entries]:
            raise InputError(
                f"reports/shown/{name}.json: image {missing[0]} of the test split is not in it; "
                f"`dvc repro evaluate@{name}` writes the images that `report.images` asks for."
            )
    nothing: dict[str, Any] = {"detected_at": None, "detections": []}
    by_system = by_system or {"": {image.id: nothing for image in index.images}}
    return [
        Photo(
            number=number,
            file=image.file,
            width=image.width,
            height=image.height,
            uri=jpeg_uri(root / image.file, LONGEST_SIDE),
            overlays={name: _overlay(image, index.classes, of[image.id], ratio) for name, of in by_system.items()},
        )
        for number, image in enumerate(index.images, 1)
    ]


def tile_ratio(sizes: Sequence[tuple[int, int]]) -> float:
    """Return width / height of the frame that all pictures share: the median of theirs, between 3:4 and 16:9."""
    ratios = [width / height for width, height in sizes]
    return float(np.clip(np.median(ratios), 3 / 4, 16 / 9)) if ratios else 1.0


def _overlay(image: ImageRecord, classes: Sequence[str], entry: Mapping[str, Any], ratio: float) -> Overlay:
    """Return an image's overlay from its entry in ``shown``."""
    label_height = LABEL_SHARE * max(image.width, image.height * ratio)
    objects = [
        DrawnObject(
            Frame(*rounded_bbox(box)),
            category=label,
            title=f"{classes[label - 1]} (ground truth{', ignored' if ignore else ''})",
            ignored=bool(ignore),
            detected_at=score,
        )
        for box, label, ignore, score in zip(
            image.boxes,
            image.labels.tolist(),
            image.ignore,
            entry["detected_at"] or [None] * len(image.labels),
            strict=True,
        )
    ]
    best_last = reversed(entry["detections"])
    return Overlay([_detection(one, classes, label_height, image.width) for one in best_last], objects)


def _detection(one: Mapping[str, Any], classes: Sequence[str], label_height: float, image_width: int) -> DrawnDetection:
    category, frame = one["category_id"], Frame(*one["bbox"])
    text, colour = f"{classes[category - 1]} {one['score']:.2f}", class_colour(category)
    return DrawnDetection(
        frame,
        category,
        one["score"],
        one["type"],
        title=f"{text} ({one['type']})",
        colour=colour,
        ink=ink_on(colour),
        label=_label(text, frame, label_height, image_width),
    )


def _label(text: str, frame: Frame, height: float, image_width: int) -> Label:
    """Place a label on the upper edge of a box, or below that edge where there is no room; never past the image."""
    width = round(height * (0.5 + 0.42 * sum(_columns(letter) for letter in text)), 1)
    left = max(0.0, min(frame.x, image_width - width))
    top = frame.y - height if frame.y >= height else frame.y
    return Label(text, round(left, 1), round(top, 1), width, round(height, 1))


def _columns(letter: str) -> int:
    """Return the columns that a letter takes: two for wide East Asian ones."""
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
