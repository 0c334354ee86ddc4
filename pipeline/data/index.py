"""The dataset index, all that later stages know of the images: one COCO JSON file per split."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, as_boxes
from pipeline.core.storage import read_json, write_json

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ImageRecord:
    """One image and its objects.

    Attributes:
        id: unique over all splits, 1 or more.
        file: path below the data root, with forward slashes.
        width: in pixels, after the EXIF rotation.
        height: in pixels, after the EXIF rotation.
        sha256: hash of the image file, so that a changed pixel re-runs what depends on it.
        boxes: ``(N, 4)`` float32, the project's box format, with positive areas inside the image.
        labels: ``(N,)`` int64, category ids from 1; 0 is the background everywhere.
        ignore: ``(N,)`` bool, difficult (VOC) or crowd (COCO) objects, which do not count at evaluation.
        crowd: ``(N,)`` bool, those to ignore that are crowds: one box around many objects. None where left out.
        masks: for each object the compressed run lengths of its pixels, COCO's ``counts``, or None. Empty where no
            object has any, or where they were not asked for.
    """

    id: int
    file: str
    width: int
    height: int
    sha256: str
    boxes: Boxes = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    ignore: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    crowd: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    masks: tuple[str | None, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.crowd):
            object.__setattr__(self, "crowd", np.zeros(len(self.boxes), np.bool_))

    def trained(self, difficult: bool) -> NDArray[np.bool_]:
        """Return which objects may train, ``(N,)``: no crowd, and difficult ones only where ``difficult`` says so."""
        return ~self.crowd if difficult else ~self.ignore

    @property
    def crowds(self) -> Boxes:
        """Return the boxes of the crowds, ``(M, 4)``."""
        return self.boxes[self.crowd]

    @property
    def masked(self) -> NDArray[np.bool_]:
        """Return which objects have a mask, ``(N,)``."""
        return np.array([mask is not None for mask in self.masks or (None,) * len(self.boxes)], np.bool_)

    def mask(self, position: int) -> NDArray[np.bool_] | None:
        """Return the pixels of an object, ``(height, width)`` bool; None where it has no mask."""
        from faster_coco_eval.core import mask

        counts = self.masks[position] if self.masks else None
        if counts is None:
            return None
        return mask.decode({"size": [self.height, self.width], "counts": counts}).astype(bool)


@dataclass(frozen=True)
class Index:
    """The images of one split, sorted by file name, and the classes of the whole dataset (category id 1 first)."""

    classes: tuple[str, ...]
    images: tuple[ImageRecord, ...]

    def spread(self, count: int) -> list[ImageRecord]:
        """Return ``count`` images spread evenly over the split, or all where there are fewer."""
        positions = np.linspace(0, len(self.images), min(count, len(self.images)), endpoint=False).astype(int)
        return [self.images[position] for position in positions]

    def save(self, path: Path) -> None:
        """Write the index as COCO JSON; ``ignore`` is an extra field of each annotation, ``sha256`` of each image.

        An object with a mask has COCO's ``segmentation`` too, as compressed run lengths. ``area`` is that of its box.
        """
        annotations = [
            {
                "image_id": image.id,
                "category_id": int(label),
                "bbox": _to_bbox(box),
                "area": round(_to_bbox(box)[2] * _to_bbox(box)[3], 3),
                "iscrowd": int(crowd),
                "ignore": int(ignore),
                **({} if mask is None else {"segmentation": {"size": [image.height, image.width], "counts": mask}}),
            }
            for image in self.images
            for box, label, ignore, crowd, mask in zip(
                image.boxes,
                image.labels,
                image.ignore,
                image.crowd,
                image.masks or (None,) * len(image.boxes),
                strict=True,
            )
        ]
        write_json(
            path,
            {
                "categories": [{"id": i, "name": name} for i, name in enumerate(self.classes, 1)],
                "images": [
                    {
                        "id": image.id,
                        "file_name": image.file,
                        "width": image.width,
                        "height": image.height,
                        "sha256": image.sha256,
                    }
                    for image in self.images
                ],
                "annotations": [{"id": i, **annotation} for i, annotation in enumerate(annotations, 1)],
            },
        )

    @classmethod
    def load(cls, path: Path, *, masks: bool = False) -> "Index":
        """Read an index that `save` wrote, with its masks only where these are asked for.

        Boxes need none, and records are copied into each process that makes batches.
        """
        content = read_json(path)
        objects: dict[int, list[dict]] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            objects[annotation["image_id"]].append(annotation)
        return cls(
            classes=tuple(category["name"] for category in content["categories"]),
            images=tuple(
                ImageRecord(
                    id=image["id"],
                    file=image["file_name"],
                    width=image["width"],
                    height=image["height"],
                    sha256=image["sha256"],
                    boxes=as_boxes([_from_bbox(*item["bbox"]) for item in objects[image["id"]]]),
                    labels=np.array([item["category_id"] for item in objects[image["id"]]], np.int64),
                    ignore=np.array([item["ignore"] for item in objects[image["id"]]], np.bool_),
                    crowd=np.array([item["iscrowd"] for item in objects[image["id"]]], np.bool_),
                    masks=_masks(objects[image["id"]]) if masks else (),
                )
                for image in content["images"]
            ),
        )


def _masks(annotations: Sequence[dict[str, Any]]) -> tuple[str | None, ...]:
    counts = tuple(item["segmentation"]["counts"] if "segmentation" in item else None for item in annotations)
    return counts if any(counts) else ()


def _to_bbox(box: NDArray[np.float32]) -> list[float]:
    """Return COCO's ``[x, y, width, height]`` in thousandths of a pixel, in double precision.

    With `_from_bbox` every box of whole thousandths comes back bit by bit, so none grows beyond its image.
    """
    x1, y1, x2, y2 = (round(float(value), 3) for value in box)
    return [x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)]


def _from_bbox(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    return x, y, round(x + width, 3), round(y + height, 3)
