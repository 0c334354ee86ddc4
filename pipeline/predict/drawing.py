"""Boxes with names and scores, painted on a picture."""

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.evaluation.detections import Detections
from pipeline.predict.results import whole_boxes
from pipeline.report.colours import class_colour, ink_on

# Lines and letters grow with the picture, so that they look the same on any screen: shares of its longest side.
LINE_SHARE = 1 / 250
LETTER_SHARE = 1 / 38
LEAST_LETTERS = 10


def draw(image: NDArray[np.uint8], found: Detections, classes: Sequence[str]) -> Image.Image:
    """Return ``image`` (H, W, 3) RGB with the boxes painted just inside their borders, the best on top.

    A label stands on the upper edge of its box, or below that edge where the picture has no room above.
    """
    height, width = image.shape[:2]
    picture = Image.fromarray(image)
    canvas = ImageDraw.Draw(picture)
    line = max(1, round(max(width, height) * LINE_SHARE))
    font = _font(max(LEAST_LETTERS, round(max(width, height) * LETTER_SHARE)))
    boxes = whole_boxes(found, (width, height))
    shown = zip(boxes, found.labels.tolist(), found.scores.tolist(), strict=True)
    for (x1, y1, x2, y2), label, score in reversed(list(shown)):
        colour = class_colour(label)
        canvas.rectangle((x1, y1, x2 - 1, y2 - 1), outline=colour, width=line)
        _write(canvas, f"{classes[label - 1]} {score:.2f}", (x1, y1), picture.size, font, colour)
    return picture


def _write(
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
