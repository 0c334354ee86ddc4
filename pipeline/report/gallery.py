"""The pictures of the report: photographs, and what the script of the page draws over them, as one JSON text.

The script draws an image when it is looked at, so that a page may hold hundreds of them. All photographs together stay
within the bytes that are left of the page: where they do not fit, they get smaller, and in the end fewer.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.colours import class_colour, ink_on
from pipeline.core.errors import InputError
from pipeline.data.index import ImageRecord, Index
from pipeline.evaluation.shown import rounded_bbox
from pipeline.html_templates import photo
from pipeline.registry import System

# Longest side in pixels and quality of the photographs: the first that let all of them fit.
SIZES = ((640, 80), (480, 75), (360, 70), (270, 65), (200, 60), (160, 55))
# Photographs that are made to see how large the others will be.
SAMPLED = 12
# Of the bytes that there are, what the estimate may fill: photographs differ.
FILLED = 0.95


@dataclass(frozen=True)
class Gallery:
    """What the page shows of the test images.

    Attributes:
        images: their number.
        side: of the photographs, at most, in pixels; the first of `SIZES` unless that would be too many bytes.
        ratio: width over height of the frame that all pictures share (`tile_ratio`).
        json: what the script draws, as `gallery` describes it, to stand inside a script element.
    """

    images: int
    side: int
    ratio: float
    json: str

    @property
    def reduced(self) -> bool:
        """Whether the photographs are smaller than they would be if there were fewer."""
        return self.side < SIZES[0][0]


EMPTY = Gallery(images=0, side=SIZES[0][0], ratio=1.0, json="")


def gallery(
    index: Index,
    root: Path,
    shown: Mapping[str, Mapping[str, Any]],
    systems: Mapping[str, System],
    most: int | None,
    room: int,
) -> Gallery:
    """Return the pictures of the images of ``index``: all of them, or those that `chosen` picks.

    The JSON has ``classes``, rows of name, colour and ink; ``systems``, each with ``name``, ``title`` and ``colour``,
    from ``reports/shown/SYSTEM.json`` ``floor``, ``top`` and by class ``start``, and ``worst`` and ``surest``, the
    lists there with the image's place on the page instead of its id; and ``images``: ``file``, ``size``, ``objects``
    (rows of category id, 1 to ignore it or 0, and box as xywh), ``photo`` (WebP in base64), and ``systems``, in the
    order of the others: ``found``, the detections as in the file, and ``claimed``, the file's ``detected_at``.

    Args:
        index: the ground truth of the test split.
        root: folder that the index's file names are relative to.
        shown: by system, the content of ``reports/shown/SYSTEM.json`` (`pipeline.evaluation.shown`).
        systems: those of ``shown``, to name them.
        most: images at most; None: as many as there is room for.
        room: bytes that there are for the JSON.

    Raises:
        InputError: ``shown`` lacks an image.
        UnreadableImageError: an image is missing or broken.
    """
    _check(index, shown)
    overlays = _overlays(index, shown)
    wanted = len(index.images) if most is None else min(most, len(index.images))
    size, fitting = _fitting(index, root, overlays, room)
    count = min(wanted, fitting)
    photos: dict[int, str] = {}
    while True:
        images = chosen(index, shown, count)
        photos |= {image.id: photo(root / image.file, *size) for image in images if image.id not in photos}
        text = _json(_content(images, index.classes, shown, systems, overlays, photos)).replace("<", "\\u003c")
        if count == 0 or (length := len(text.encode())) <= room:
            break
        count = min(count - 1, int(count * FILLED * room / length))  # larger photographs than the sample's
    return Gallery(len(images), size[0], tile_ratio([(image.width, image.height) for image in images]), text)


def chosen(index: Index, shown: Mapping[str, Mapping[str, Any]], count: int) -> list[ImageRecord]:
    """Return ``count`` images in the order of the index: up to half of them the worst, the others spread evenly.

    The worst are those at the head of the systems' lists, of each list as many.
    """
    if count >= len(index.images):
        return list(index.images)
    lists = [[image_id for image_id, _ in content["worst_images"]] for content in shown.values()]
    ranked = dict.fromkeys(image_id for rank in zip_longest(*lists) for image_id in rank if image_id is not None)
    worst = set(list(ranked)[: count // 2])
    others = Index(index.classes, tuple(image for image in index.images if image.id not in worst))
    taken = worst | {image.id for image in others.spread(count - len(worst))}
    return [image for image in index.images if image.id in taken]


def tile_ratio(sizes: Sequence[tuple[int, int]]) -> float:
    """Return width / height of the frame that all pictures share: the median of theirs, between 3:4 and 16:9."""
    ratios = [width / height for width, height in sizes]
    return round(float(np.clip(np.median(ratios), 3 / 4, 16 / 9)), 3) if ratios else 1.0


def _check(index: Index, shown: Mapping[str, Mapping[str, Any]]) -> None:
    for name, content in shown.items():
        known = {entry["id"] for entry in content["images"]}
        if missing := [image.id for image in index.images if image.id not in known]:
            raise InputError(
                f"reports/shown/{name}.json: image {missing[0]} of the test split is not in it; "
                f"`dvc repro evaluate@{name}` writes all of them."
            )


def _overlays(index: Index, shown: Mapping[str, Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """Return by image id all that is drawn over the photograph, and the file's name and size."""
    entries = {name: {entry["id"]: entry for entry in content["images"]} for name, content in shown.items()}
    return {
        image.id: {
            "file": image.file,
            "size": [image.width, image.height],
            "objects": [
                [label, int(ignore), *rounded_bbox(box)]
                for label, ignore, box in zip(image.labels.tolist(), image.ignore, image.boxes, strict=True)
            ],
            "systems": [
                {"claimed": of[image.id]["detected_at"], "found": of[image.id]["detections"]} for of in entries.values()
            ],
        }
        for image in index.images
    }


def _fitting(
    index: Index, root: Path, overlays: Mapping[int, Mapping[str, Any]], room: int
) -> tuple[tuple[int, int], int]:
    """Return the first of `SIZES` at which all images seem to fit, or the last, and how many seem to fit at it."""
    sample, all_overlays = index.spread(SAMPLED), sum(len(_json(each)) for each in overlays.values())
    for size in SIZES:
        photos = sum(len(photo(root / image.file, *size)) for image in sample) / max(1, len(sample))
        mean = photos + all_overlays / max(1, len(overlays))
        if len(overlays) * mean <= FILLED * room:
            return size, len(overlays)
    return size, int(FILLED * room / mean)


def _content(
    images: Sequence[ImageRecord],
    classes: Sequence[str],
    shown: Mapping[str, Mapping[str, Any]],
    systems: Mapping[str, System],
    overlays: Mapping[int, Mapping[str, Any]],
    photos: Mapping[int, str],
) -> dict[str, Any]:
    """Return what `gallery` describes."""
    places = {image.id: place for place, image in enumerate(images)}
    colours = [class_colour(label) for label in range(1, len(classes) + 1)]
    return {
        "classes": [list(row) for row in zip(classes, colours, map(ink_on, colours), strict=True)],
        "systems": [
            {
                "name": name,
                "title": systems[name].title,
                "colour": systems[name].colour,
                "floor": content["floor"],
                "start": [content["start"][each] for each in classes],
                "top": content["top"],
                "worst": [[places[of], weight] for of, weight in content["worst_images"] if of in places],
                "surest": [[places[of], place] for of, place in content["surest_errors"] if of in places],
            }
            for name, content in shown.items()
        ],
        "images": [{**overlays[image.id], "photo": photos[image.id]} for image in images],
    }


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
