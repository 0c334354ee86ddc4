"""Detections of one system: arrays in memory, COCO results on disk."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, as_boxes, from_xywh
from pipeline.core.errors import InputError
from pipeline.core.storage import atomic
from pipeline.data.index import Index

FIELDS = ("image_id", "category_id", "bbox", "score")


@dataclass(frozen=True)
class Detections:
    """N detections, in any order.

    Attributes:
        image_ids: ``(N,)`` int64, ids of the dataset index; 0 for a picture that is in none.
        labels: ``(N,)`` int64, category ids from 1.
        boxes: ``(N, 4)`` float32, the project's box format.
        scores: ``(N,)`` float32, greater is better; any finite number (an SVM's may be negative).
    """

    image_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: Boxes
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def join(cls, parts: Sequence["Detections"]) -> "Detections":
        """Return the detections of all ``parts``, one after another."""
        return cls(
            np.concatenate([np.zeros(0, np.int64), *(part.image_ids for part in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(part.labels for part in parts)]),
            np.concatenate([np.zeros((0, 4), np.float32), *(part.boxes for part in parts)]),
            np.concatenate([np.zeros(0, np.float32), *(part.scores for part in parts)]),
        )

    def take(self, which: NDArray) -> "Detections":
        """Return the detections at the positions ``which``, or where the mask ``which`` is true."""
        return Detections(self.image_ids[which], self.labels[which], self.boxes[which], self.scores[which])

    def ranked(self) -> "Detections":
        """Return the detections by score, best first; equal scores keep their order."""
        return self.take(np.argsort(-self.scores, kind="stable"))

    def save(self, path: Path) -> None:
        """Write COCO results, one per line, sorted by image, then class, then score (best first).

        Corners are rounded to 0.01 pixel. A score is written with the digits that make the same float32 again, so
        that rounding forms no ties (VOC's result files with their three decimals do).

        Raises:
            ValueError: a box or a score is not finite, which JSON cannot say.
        """
        ordered = self.take(np.lexsort((-self.scores, self.labels, self.image_ids)))
        corners = np.round(ordered.boxes.astype(np.float64), 2)
        corners[:, 2:] = np.round(corners[:, 2:] - corners[:, :2], 2)
        scores = map(written_score, ordered.scores.astype(np.float32))
        columns = (ordered.image_ids.tolist(), ordered.labels.tolist(), corners.tolist(), scores)
        rows = (dict(zip(FIELDS, row, strict=True)) for row in zip(*columns, strict=True))
        lines = (json.dumps(row, allow_nan=False, separators=(",", ":")) for row in rows)
        with atomic(path) as temporary:
            temporary.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path, index: Index, stage: str) -> "Detections":
        """Read COCO results for the images and classes of ``index``.

        Args:
            path: the JSON file.
            index: what the results must refer to.
            stage: the command that writes the file, for the error message.

        Raises:
            InputError: the file is missing or is no list of COCO results, or an entry names an unknown image or
                class, or has a box or score that is not a finite number.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{path}: the file does not exist; `{stage}` writes it.") from None
        except ValueError as error:
            raise InputError(f"{path}: no JSON ({error}); `{stage}` writes it anew.") from None
        if not isinstance(content, list):
            raise InputError(f"{path}: found {type(content).__name__}, not a list of COCO results; see `{stage}`.")
        try:
            detections = cls(
                image_ids=np.array([entry["image_id"] for entry in content], np.int64),
                labels=np.array([entry["category_id"] for entry in content], np.int64),
                boxes=from_xywh(as_boxes([_four_numbers(entry["bbox"]) for entry in content])),
                scores=np.array([float(entry["score"]) for entry in content], np.float32),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: an entry is no COCO result with {', '.join(FIELDS)} ({error}); `{stage}` writes them."
            ) from None
        detections._check(path, index, stage)
        return detections

    def _check(self, path: Path, index: Index, stage: str) -> None:
        """Raise an InputError that names the first entry not fitting ``index``."""
        faults = {
            "image_id is not in the index": ~np.isin(self.image_ids, [image.id for image in index.images]),
            f"category_id is not in 1 to {len(index.classes)}": (self.labels < 1) | (self.labels > len(index.classes)),
            "bbox or score is not a finite number": ~np.isfinite(self.boxes).all(axis=1) | ~np.isfinite(self.scores),
        }
        for fault, where in faults.items():
            if where.any():
                entry = int(where.argmax())
                raise InputError(
                    f"{path}: entry {entry + 1} (image {self.image_ids[entry]}, class {self.labels[entry]}): its "
                    f"{fault}; `{stage}` writes results that fit the index."
                )


def written_score(score: np.float32) -> float:
    """Return a score with as many digits as make the same float32 again, as `Detections.save` writes it."""
    return float(str(score))


def _four_numbers(bbox: Any) -> list[float]:
    if len(bbox) != 4:
        raise ValueError(f"a bbox of {len(bbox)} numbers instead of 4")
    return bbox
