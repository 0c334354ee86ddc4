"""From annotated corners to boxes that every later stage can rely on."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.boxes import Boxes, as_boxes, clip, from_voc

Fate = Literal[
    "box that is not finite", "inverted box", "box without area", "box outside the image", "clipped box", "kept"
]
DECIMALS = 3  # of a pixel: what the index file stores
FAR = 1e6  # pixels; beyond any image, and float32 still tells whole pixels apart


def clean(corners: ArrayLike, width: int, height: int, *, inclusive: bool) -> tuple[Boxes, list[Fate]]:
    """Convert corners, ``(N, 4)`` in the source's convention, to boxes inside an image of ``width`` x ``height``.

    Returns a box and a fate for each row. The box of a row whose fate is "kept" or "clipped box" has a positive area
    inside the image, in thousandths of a pixel; that of any other row means nothing. VOC's corners include the last
    pixel, so equal ones enclose one pixel; they come from stray clicks and count as "box without area" all the same.
    """
    raw = np.asarray(corners, np.float64).reshape(-1, 4)
    finite = np.asarray(np.isfinite(raw).all(axis=1))
    raw = np.clip(np.where(finite[:, None], raw, 0), -FAR, FAR)
    boxes = _rounded(from_voc(raw) if inclusive else as_boxes(raw))
    inside = clip(boxes, width, height)
    # In the order of Fate: the first that is true counts.
    signs = [
        ~finite,
        (raw[:, 2:] < raw[:, :2]).any(axis=1),
        (raw[:, 2:] == raw[:, :2]).any(axis=1) | (boxes[:, 2:] <= boxes[:, :2]).any(axis=1),
        (inside[:, 2:] <= inside[:, :2]).any(axis=1),
        (inside != boxes).any(axis=1),
        np.ones(len(raw), bool),
    ]
    fates: tuple[Fate, ...] = get_args(Fate)
    return inside, [fates[i] for i in np.argmax(signs, axis=0)]


def _rounded(boxes: NDArray[np.float32]) -> Boxes:
    return np.round(boxes.astype(np.float64), DECIMALS).astype(np.float32)
