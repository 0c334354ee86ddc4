"""What becomes of the detections in one picture: a line of text, a drawing, VOC XML, COCO JSON.

A writer is a function that takes each outcome, a `Result` or a `Broken`, as it comes.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from pipeline.core.boxes import area, clip, to_xywh
from pipeline.core.colours import class_colour, ink_on
from pipeline.core.storage import atomic
from pipeline.data.voc import VocObject, write_annotation
from pipeline.evaluation.detections import Detections
from pipeline.predict.pictures import Broken, Picture, Pixels, printable

# Detections that a line of text names.
NAMED = 5
# Lines and letters grow with the picture, so that they look the same on any screen: shares of its longest side.
LINE_SHARE = 1 / 250
LETTER_SHARE = 1 / 38
LEAST_LETTERS = 10
JPEG_ENDINGS = (".jpg", ".jpeg")


@dataclass(frozen=True)
class Result:
    """The detections in one picture, best first.

    Attributes:
        number: its place in the list, from 1: the COCO image id.
        picture: the file.
        size: ``(width, height)`` in pixels, upright.
        detected: boxes in those pixels.
        image: ``(height, width, 3)`` uint8 RGB, or None where no writer needs it.
    """

    number: int
    picture: Picture
    size: tuple[int, int]
    detected: Detections
    image: NDArray[np.uint8] | None

    @classmethod
    def of(cls, pixels: Pixels, detected: Detections, lowest: NDArray[np.float32]) -> "Result":
        """Keep what lies in the picture and has the ``lowest`` score of its class or more, in the full one's pixels."""
        boxes = clip(detected.boxes * np.array(pixels.factors * 2, np.float32), *pixels.size)
        good = (detected.scores >= lowest[detected.labels - 1]) & (area(boxes) > 0)
        kept = replace(detected, boxes=boxes).take(good)
        return cls(pixels.number, pixels.picture, pixels.size, kept, pixels.full)


Outcome = Result | Broken
Writer = Callable[[Outcome], None]


def line_writer(classes: Sequence[str]) -> Writer:
    """Return a writer that prints a line for each picture: the number of detections, and the best of them."""

    def write(outcome: Outcome) -> None:
        if isinstance(outcome, Broken):
            return
        labels, scores = outcome.detected.labels, outcome.detected.scores
        best = [
            f"{classes[label - 1]} {score:.2f}"
            for label, score in zip(labels[:NAMED].tolist(), scores[:NAMED].tolist(), strict=True)
        ]
        more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
        _say(f"{outcome.picture.name}: {len(labels)} found{': ' if best else ''}{', '.join(best)}{more}", sys.stdout)

    return write


def error_writer() -> Writer:
    """Return a writer that prints a sentence on stderr for each broken picture, once however often it comes."""
    named: set[Picture] = set()

    def write(outcome: Outcome) -> None:
        if isinstance(outcome, Broken) and outcome.picture not in named:
            named.add(outcome.picture)
            _say(f"error: {outcome.picture.name}: {outcome.reason}.", sys.stderr)

    return write


@contextmanager
def coco_writer(stream: TextIO, classes: Sequence[str]) -> Iterator[Writer]:
    """Give a writer of ``{"categories", "annotations", "images", "errors"}``, complete when the block ends.

    ``annotations`` are COCO results (image_id, category_id, bbox as x, y, width, height, score) with the id, area and
    iscrowd that COCO asks of annotations, so the file loads as a dataset, and its ``annotations`` load as results.
    They are written as they come; names and sizes of the images are kept until the end.

    Args:
        stream: where to write; it stays open.
        classes: category id 1 first.
    """
    images: list[dict[str, Any]] = []
    errors: list[dict[str, str]] = []
    written = 0

    def write(outcome: Outcome) -> None:
        nonlocal written
        path = outcome.picture.path.as_posix()
        if isinstance(outcome, Broken):
            errors.append({"file_name": path, "error": outcome.reason})
            return
        images.append({"id": outcome.number, "file_name": path, "width": outcome.size[0], "height": outcome.size[1]})
        detected = outcome.detected
        boxes, areas = np.round(to_xywh(detected.boxes).astype(np.float64), 2), area(detected.boxes)
        columns = (boxes.tolist(), areas.tolist(), detected.labels.tolist(), detected.scores)
        for box, size, label, score in zip(*columns, strict=True):
            written += 1
            row = {
                "id": written,
                "image_id": outcome.number,
                "category_id": label,
                "bbox": box,
                "area": round(size, 2),
                "iscrowd": 0,
                "score": float(str(score)),  # as many digits as make the same float32 again
            }
            stream.write((",\n" if written > 1 else "\n") + _json(row))

    stream.write(f'{{"categories": {_json([{"id": n, "name": name} for n, name in enumerate(classes, 1)])},\n')
    stream.write('"annotations": [')
    yield write
    stream.write(f'\n],\n"images": [{_json_lines(images)}],\n"errors": [{_json_lines(errors)}]}}\n')


@contextmanager
def folder_writer(root: Path, classes: Sequence[str]) -> Iterator[Writer]:
    """Give a writer of ``pictures/NAME`` and ``Annotations/NAME.xml`` below ``root``, in the pictures' subfolders.

    A JPEG is drawn as a JPEG, all others as PNG. ``detections.json`` (`coco_writer`) appears when the block ends.
    """

    def write(outcome: Outcome) -> None:
        write_coco(outcome)
        if isinstance(outcome, Broken):
            return
        assert outcome.image is not None
        target = root / "pictures" / outcome.picture.out
        target.parent.mkdir(parents=True, exist_ok=True)
        drawn = draw(outcome.image, outcome.detected, classes)
        if target.suffix.lower() in JPEG_ENDINGS:
            drawn.save(target, "JPEG", quality=92)
        else:
            drawn.save(target.with_suffix(".png"), "PNG", compress_level=3)
        names = [printable(classes[label - 1]) for label in outcome.detected.labels.tolist()]
        boxes = whole_boxes(outcome.detected, outcome.size)
        (root / "Annotations" / outcome.picture.out).parent.mkdir(parents=True, exist_ok=True)
        write_annotation(root, str(outcome.picture.out), *outcome.size, map(VocObject, names, boxes))

    with (
        atomic(root / "detections.json") as temporary,
        temporary.open("w", encoding="utf-8") as stream,
        coco_writer(stream, classes) as write_coco,
    ):
        yield write


def draw(image: NDArray[np.uint8], detected: Detections, classes: Sequence[str]) -> Image.Image:
    """Return ``image`` (H, W, 3) RGB with the boxes painted just inside their borders, the best on top.

    A label stands on the upper edge of its box, or below that edge where the picture has no room above.
    """
    height, width = image.shape[:2]
    picture = Image.fromarray(image)
    canvas = ImageDraw.Draw(picture)
    line = max(1, round(max(width, height) * LINE_SHARE))
    font = _font(max(LEAST_LETTERS, round(max(width, height) * LETTER_SHARE)))
    boxes = whole_boxes(detected, (width, height))
    shown = zip(boxes, detected.labels.tolist(), detected.scores.tolist(), strict=True)
    for (x1, y1, x2, y2), label, score in reversed(list(shown)):
        colour = class_colour(label)
        canvas.rectangle((x1, y1, x2 - 1, y2 - 1), outline=colour, width=line)
        _write_label(canvas, f"{classes[label - 1]} {score:.2f}", (x1, y1), picture.size, font, colour)
    return picture


def whole_boxes(detected: Detections, size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Return the boxes with corners rounded to whole pixels, inside the picture, each at least one pixel wide and high.

    Half-open as all boxes here, so that VOC's corners follow by `pipeline.core.boxes.to_voc`.
    """
    corners = np.rint(detected.boxes).astype(np.int64)
    low = np.clip(corners[:, :2], 0, np.array(size) - 1)
    high = np.clip(corners[:, 2:], low + 1, np.array(size))
    return [tuple(row) for row in np.concatenate([low, high], axis=1).tolist()]


def _write_label(
    canvas: ImageDraw.ImageDraw,
    text: str,
    corner: tuple[int, int],
    size: tuple[int, int],
    font: ImageFont.FreeTypeFont,
    colour: str,
) -> None:
    """Paint a label in a filled frame at the upper left ``corner`` of a box; inside the picture where it fits."""
    ascent, descent = font.getmetrics()
    margin = max(1, ascent // 6)
    width, height = round(font.getlength(text)) + 2 * margin, ascent + descent
    x, y = max(0, min(corner[0], size[0] - width)), corner[1]
    top = y - height if y >= height else y
    canvas.rectangle((x, top, x + width - 1, top + height - 1), fill=colour)
    canvas.text((x + margin, top), text, font=font, fill=ink_on(colour))


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which comes with matplotlib and knows Latin, Greek, Cyrillic and more."""
    package = find_spec("matplotlib")
    assert package is not None
    assert package.origin is not None
    return ImageFont.truetype(Path(package.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf", size)


def _say(text: str, stream: TextIO) -> None:
    """Print a line; above the progress bar, unless the bar is in another place, a log."""
    if stream is sys.stdout and not sys.stderr.isatty():
        print(text)
    else:
        tqdm.write(text, file=stream)


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def _json_lines(values: Sequence[Any]) -> str:
    return "".join(f"{',' if place else ''}\n{_json(value)}" for place, value in enumerate(values)) + "\n"
