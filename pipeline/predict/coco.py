"""Results as one COCO file, written while they come."""

import json
from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np

from pipeline.core.boxes import area, to_xywh
from pipeline.predict.reading import Unread
from pipeline.predict.results import Result


class CocoWriter:
    """A `Listener` that writes ``{"categories", "annotations", "images", "errors"}``.

    ``annotations`` are COCO results (image_id, category_id, bbox as x, y, width, height, score) with the id, area and
    iscrowd that COCO asks of annotations, so the file loads as a dataset, and its ``annotations`` load as results.
    They are written as they come; names and sizes of the images are kept until `close`.

    Args:
        stream: where to write.
        classes: category id 1 first.
    """

    def __init__(self, stream: TextIO, classes: Sequence[str]) -> None:
        self._stream, self._written = stream, 0
        self._images: list[dict[str, Any]] = []
        self._errors: list[dict[str, str]] = []
        categories = [{"id": label, "name": name} for label, name in enumerate(classes, 1)]
        stream.write(f'{{"categories": {_line(categories)},\n"annotations": [')

    def add(self, result: Result) -> None:
        """Write one line for each detection."""
        width, height = result.size
        self._images.append(
            {"id": result.number, "file_name": result.picture.path.as_posix(), "width": width, "height": height}
        )
        boxes, areas = np.round(to_xywh(result.found.boxes).astype(np.float64), 2), area(result.found.boxes)
        for box, size, label, score in zip(
            boxes.tolist(), areas.tolist(), result.found.labels.tolist(), result.found.scores, strict=True
        ):
            self._row(
                {
                    "id": self._written + 1,
                    "image_id": result.number,
                    "category_id": label,
                    "bbox": box,
                    "area": round(size, 2),
                    "iscrowd": 0,
                    "score": float(str(score)),  # as many digits as make the same float32 again
                }
            )

    def fail(self, unread: Unread) -> None:
        """Note the file and the reason."""
        self._errors.append({"file_name": unread.picture.path.as_posix(), "error": unread.reason})

    def close(self) -> None:
        """Write the rest; the stream stays open."""
        self._stream.write("\n],\n")
        self._stream.write(f'"images": [{_lines(self._images)}],\n"errors": [{_lines(self._errors)}]}}\n')

    def _row(self, annotation: dict[str, Any]) -> None:
        self._stream.write((",\n" if self._written else "\n") + _line(annotation))
        self._written += 1


def _line(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def _lines(values: Sequence[Any]) -> str:
    return "".join(f"{',' if place else ''}\n{_line(value)}" for place, value in enumerate(values)) + "\n"
